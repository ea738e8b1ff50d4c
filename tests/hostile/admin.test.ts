/** Envoy's admin page. */
import { attackTests } from './support/vectors.ts';
import { REST_3 } from './vectors/rest-03-admin.ts';

attackTests([REST_3]);
