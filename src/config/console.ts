/** Whether the console is served. `auto`: where only this machine is listened to. */
export const CONSOLE_MODES = ['auto', 'on', 'off'] as const;
export type ConsoleMode = (typeof CONSOLE_MODES)[number];
