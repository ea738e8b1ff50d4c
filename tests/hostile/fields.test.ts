/** What an engine is asked to fetch, to do elsewhere, or to remember. */
import { attackTests } from './support/vectors.ts';
import { REST_6 } from './vectors/rest-06-media-urls.ts';
import { REST_7 } from './vectors/rest-07-tools-and-state.ts';

attackTests([REST_6, REST_7]);
