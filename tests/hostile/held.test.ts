/** What one tenant holds: answers that it does not read, uploads that it does not end. */
import { attackTests } from './support/vectors.ts';
import { REST_4 } from './vectors/rest-04-unread-answers.ts';
import { REST_5 } from './vectors/rest-05-uploads.ts';

attackTests([REST_5, REST_4]);
