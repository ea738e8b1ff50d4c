/** Requests that kill engines, of which there are four. */
import { attackTests } from './support/vectors.ts';
import { REST_8 } from './vectors/rest-08-query-of-death.ts';

attackTests([REST_8], { endpoints: 4 });
