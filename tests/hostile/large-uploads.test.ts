/** Large uploads of one tenant, and whether others are served meanwhile. Bodies are as fast as the machine: nothing runs beside it. */
import { attackTests } from './support/vectors.ts';
import { LARGE_UPLOADS } from './vectors/rest-05-uploads.ts';

attackTests([LARGE_UPLOADS]);
