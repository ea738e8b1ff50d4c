/** What a body can hide. */
import { attackTests } from './support/vectors.ts';
import { REST_1 } from './vectors/rest-01-hidden-prompt.ts';
import { SERIOUS_4, SERIOUS_4_REFUSED } from './vectors/serious-4-nested-fields.ts';

attackTests([SERIOUS_4, SERIOUS_4_REFUSED, REST_1]);
