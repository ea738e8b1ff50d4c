/** Odd bodies, headers, framings and routes; the log and the commands. */
import { attackTests } from './support/vectors.ts';
import { REST_10_BODIES } from './vectors/rest-10-bodies.ts';
import { REST_10_HEADERS } from './vectors/rest-10-headers.ts';
import { REST_9, REST_10_LOG } from './vectors/rest-10-log-and-commands.ts';
import { REST_10_SMUGGLING } from './vectors/rest-10-smuggling.ts';
import { REST_11 } from './vectors/rest-11-without-a-key.ts';

attackTests([REST_9, REST_10_BODIES, REST_10_HEADERS, REST_10_SMUGGLING, REST_10_LOG, REST_11]);
