/** A form as the request of a client: its fields have the rules that the members of a JSON body have. */
import { isUtf8 } from 'node:buffer';
import type { ApiError } from '../domain/api-error.ts';
import type { FoundRoute } from '../domain/routes.ts';
import { forbiddenField, invalidRequest } from './error-body.ts';
import { problemOfModelName } from './field-checks.ts';
import { isForbiddenName } from './forbidden.ts';
import type { FormDocument, FormPart, FormReading } from './form/scan.ts';
import { NO_DOCUMENT } from './json/document.ts';
import { type Edit, splice } from './json/splice.ts';
import { otherModelThanRoute, type ParsedRequest, type RequestResult } from './parsed-request.ts';
import { otherSpelling } from './policy-names.ts';
import type { PromptPolicy } from './prompt.ts';
import { misspelled } from './prompt-refusals.ts';

/** Of a field that is no file, in bytes. */
const LONGEST_FIELD = 65_536;
/** Names that may come several times. */
const LISTS: ReadonlySet<string> = new Set(['timestamp_granularities', 'include']);
/** What an engine would fetch in place of the file. */
const LINKS: ReadonlySet<string> = new Set(['url', 'file_url', 'audio_url', 'path']);
const TOKEN_BYTES = 4;
/** As in JSON, where base64 makes it a third longer. */
const FILE_BYTES_PER_PROMPT_BYTE = 75;
/** As engines read them: Python's readers take all of these for yes and for no. */
const YES = /^(?:true|1|yes|on|t|y)$/i;
const NO = /^(?:false|0|no|off|f|n|)$/i;

const bad = (error: ApiError): RequestResult => ({ kind: 'bad', error });

/** @param route whose body it is; of the configuration's, one that may have a model of its own. */
export function understandForm(route: FoundRoute, reading: FormReading, policy: PromptPolicy): RequestResult {
  if (reading.kind === 'bad') return bad(invalidRequest(reading.message, undefined, 'invalid_form'));
  const { form } = reading;
  const dropped = form.parts.filter(({ name }) => isForbiddenName(name, policy.fields));
  const [first] = dropped;
  if (first !== undefined && policy.fields.onForbidden === 'refuse') return bad(forbiddenField(first.name));
  const kept = form.parts.filter((part) => !dropped.includes(part));
  if (kept.length === 0) return bad(invalidRequest('No field of the form is allowed here.'));
  const problem = problemOfParts(route, form, kept, policy);
  if (problem !== undefined) return bad(problem);

  const written = kept.find(({ name }) => name === 'model');
  const own = route.custom?.model;
  const model = written === undefined ? own : textOf(form, written);
  if (model === undefined) return bad(invalidRequest('You must provide a model.', 'model'));
  const modelProblem = problemOfModelName(model);
  if (modelProblem !== undefined) return bad(modelProblem);
  if (own !== undefined && model !== own) return bad(otherModelThanRoute(own));
  const stream = kept.find(({ name }) => name === 'stream');
  const asked = stream === undefined ? '' : textOf(form, stream);
  if (!YES.test(asked) && !NO.test(asked)) {
    return bad(invalidRequest("'stream' must be true or false.", 'stream'));
  }
  return {
    kind: 'ok',
    request: {
      route: route.name,
      model,
      stream: YES.test(asked),
      promptBytes: promptBytesOf(route, kept, policy),
      hasMedia: kept.some(({ isFile }) => isFile),
      maxOutputTokens: 0,
      belowOne: undefined,
      outputs: 1,
      wantsUsage: true,
      dropped: dropped.map(({ name }) => name),
      forbidden: new Map(),
      document: NO_DOCUMENT,
      form: { document: form, dropped, model: written },
    },
  };
}

const textOf = ({ bytes }: FormDocument, { dataStart, dataEnd }: FormPart): string =>
  bytes.toString('utf8', dataStart, dataEnd);

function problemOfParts(
  { custom }: FoundRoute,
  form: FormDocument,
  parts: readonly FormPart[],
  policy: PromptPolicy,
): ApiError | undefined {
  const seen = new Set<string>();
  for (const part of parts) {
    const { name, isFile, dataStart, dataEnd } = part;
    const known = otherSpelling(name, policy.fields);
    if (known !== undefined) return misspelled(known, name);
    if (seen.has(name) && !name.endsWith('[]') && !LISTS.has(name)) {
      return invalidRequest('The field stands in the form twice.', name, 'ambiguous_field');
    }
    seen.add(name);
    if (name === 'model[]' || name === '_charset_') {
      return invalidRequest('Engines disagree on what this field is. Leave it out.', name, 'ambiguous_field');
    }
    // Of routes that the configuration adds nobody knows here which fields are files.
    if (custom === undefined || name === 'model' || name === 'stream') {
      if (isFile !== (name === 'file')) {
        return invalidRequest(
          isFile ? 'The field must not be a file.' : "'file' must be a file: with `filename`.",
          name,
        );
      }
      if (LINKS.has(name)) {
        return invalidRequest('The file must be in the request.', name, 'media_refused');
      }
    }
    if (isFile) continue;
    if (dataEnd - dataStart > LONGEST_FIELD) {
      return invalidRequest(`The field is longer than ${LONGEST_FIELD} bytes.`, name);
    }
    if (!isUtf8(form.bytes.subarray(dataStart, dataEnd))) {
      return invalidRequest('The field is not UTF-8.', name);
    }
  }
  return custom === undefined && !seen.has('file')
    ? invalidRequest("Missing required field 'file'.", 'file')
    : undefined;
}

/** All text, and the price of each file: by its size, where that is more. */
function promptBytesOf(
  { custom }: FoundRoute,
  parts: readonly FormPart[],
  { media: { tokens } }: PromptPolicy,
): number {
  let bytes = 0;
  for (const { name, isFile, dataStart, dataEnd } of parts) {
    const length = dataEnd - dataStart;
    const price = TOKEN_BYTES * (custom === undefined ? tokens.audio : tokens.file);
    if (isFile) bytes += Math.max(price, Math.ceil(length / FILE_BYTES_PER_PROMPT_BYTE));
    else if (name !== 'model' && name !== 'stream') bytes += length;
  }
  return bytes;
}

/** What is changed in a form. */
export function editsOfForm(
  form: NonNullable<ParsedRequest['form']>,
  changes: { readonly model?: string },
): readonly Edit[] {
  const { dropped, model } = form;
  const edits: Edit[] = dropped.map(({ start, dataEnd }) => ({ from: start, to: dataEnd + 2, text: '' }));
  if (changes.model !== undefined && model !== undefined) {
    // With a head of our own: that which came may say how long it is.
    const text = `content-disposition: form-data; name="model"\r\n\r\n${changes.model}`;
    edits.push({ from: model.headStart, to: model.dataEnd, text });
  }
  return edits;
}

export const spliceForm = (
  form: NonNullable<ParsedRequest['form']>,
  changes: { readonly model?: string },
): readonly Buffer[] => splice(form.document.bytes, editsOfForm(form, changes));
