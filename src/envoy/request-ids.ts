/**
 * The ids of a request. Envoy makes `x-request-id`, which the engine, the record and every answer have. What the client calls the
 * request is kept apart, in `x-client-request-id`: Envoy would write its own over it before the first filter runs.
 */
import { CLIENT_ID_BYTES, CLIENT_ID_HEADER } from '../domain/names.ts';
import { type JsonMap, type } from './envoy-json.ts';

const MUTATION = 'envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation';

/** Of the connection manager. */
export const requestIds: JsonMap = {
  always_set_request_id_in_response: true,
  early_header_mutation_extensions: [
    {
      name: 'fairlane.client_request_id',
      typed_config: {
        ...type(MUTATION),
        mutations: [
          {
            append: {
              header: { key: CLIENT_ID_HEADER, value: '%REQ(x-request-id)%' },
              append_action: 'ADD_IF_ABSENT',
            },
          },
        ],
      },
    },
  ],
};

/** On answers, in the first filter: it is the last that an answer passes, whoever wrote it. */
export const ANSWER_IDS: readonly JsonMap[] = [
  {
    // Where Anthropic's clients look for it.
    append: {
      header: { key: 'request-id', value: '%REQ(x-request-id)%' },
      append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
    },
  },
  {
    append: {
      header: { key: CLIENT_ID_HEADER, value: `%REQ(${CLIENT_ID_HEADER}):${CLIENT_ID_BYTES}%` },
      append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
    },
  },
];

/** On answers that Envoy gives before there is a filter: to what it cannot read. */
export const ID_OF_UNREAD: JsonMap = {
  header: { key: 'x-request-id', value: '%UNIQUE_ID%' },
  append_action: 'ADD_IF_ABSENT',
};
