/** The line that sends load to a running demo, as it can be pasted where Fairlane was started. */

/** Where `fairlane load` sends to unless it is told. */
export const DEFAULT_LOAD_URL = 'http://127.0.0.1:8080';

export interface LoadPlace {
  /** Path of a file of the program. */
  readonly program: string;
  /** Whether the sources lie beside it. */
  readonly isClone: boolean;
  /** Whether a shell finds `fairlane`, also another one than that of npx. */
  readonly isOnPath: boolean;
  /** URL of the API, without /v1. */
  readonly api: string;
}

function programOf({ program, isClone, isOnPath }: LoadPlace): string {
  const isInstalled = !isClone || /[\\/]node_modules[\\/]/.test(program);
  if (!isInstalled) return 'npm run --silent fairlane -- load';
  // npx puts nothing on the PATH of the next command.
  return isOnPath ? 'fairlane load' : 'npx fairlane load';
}

export const loadCommandLine = (place: LoadPlace): string =>
  place.api === DEFAULT_LOAD_URL ? programOf(place) : `${programOf(place)} --url ${place.api}`;
