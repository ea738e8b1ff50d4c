/** What is counted, and on whose account. */
import { attackTests } from './support/vectors.ts';
import { REST_2 } from './vectors/rest-02-hang-ups.ts';
import { SERIOUS_5 } from './vectors/serious-5-predictor.ts';

// The predictor first: nobody has taught it anything yet.
attackTests([SERIOUS_5, REST_2]);
