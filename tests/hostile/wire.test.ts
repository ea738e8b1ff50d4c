/** Headers, routes, and every way in which a request can end. */
import { attackTests } from './support/vectors.ts';
import { SERIOUS_1 } from './vectors/serious-1-routes.ts';
import { SERIOUS_2 } from './vectors/serious-2-ends.ts';

attackTests([SERIOUS_1, SERIOUS_2]);
