/** Bodies that cost the most to read: how long somebody else waits meanwhile. It is measured, so nothing runs beside it. */
import { attackTests } from './support/vectors.ts';
import { SERIOUS_3 } from './vectors/serious-3-worst-bodies.ts';

attackTests([SERIOUS_3]);
