/** The configuration of `npm start` without one: two tenants and a simulated engine. */
export const QUICKSTART_CONFIG = new URL('../../examples/quickstart.yaml', import.meta.url);
/** The environment variable through which that file gets its engine's URL. */
export const QUICKSTART_ENGINE_VARIABLE = 'FAIRLANE_SIMULATOR_URL';
