/**
 * One rate limit file as the reference reads it (envoyproxy/ratelimit, src/config/config_impl.go): first its keys, then its
 * fields, each of its type. A field that is written twice, or merged, keeps what the last one says; a `rate_limit` keeps
 * what the earlier ones say of fields that the last one leaves out.
 */
import type { Struct, StructValue } from './struct.ts';
import { textOfBytes } from './yaml-bytes.ts';
import {
  isMerge,
  readYamlNodes,
  type YamlDocument,
  type YamlMapping,
  type YamlNode,
  type YamlText,
} from './yaml-nodes.ts';
import { NULL_TAG, resolveScalar, YamlFault, type YamlScalar } from './yaml-scalars.ts';
import { readYamlValue, textOf, type YamlMap, type YamlValue, YamlWalk } from './yaml-values.ts';

interface WrittenLimit {
  requestsPerUnit: number;
  unit: string;
  unlimited: boolean;
  name: string;
  /** Their names. */
  replaces: readonly string[];
}

/** Of a descriptor, while it is read. */
type Metadata = Map<string, StructValue>;

export interface WrittenDescriptor {
  key: string;
  value: string;
  rateLimit: WrittenLimit | undefined;
  descriptors: readonly WrittenDescriptor[];
  shadowMode: boolean;
  quotaMode: boolean;
  detailedMetric: boolean;
  valueToMetric: boolean;
  shareThreshold: boolean;
  metadata: Metadata | undefined;
}

export interface WrittenFile {
  domain: string;
  descriptors: readonly WrittenDescriptor[];
}

/** In the words of the reference. */
export class LimitsError extends Error {}

const KEYS: ReadonlySet<string> = new Set([
  'domain',
  'key',
  'value',
  'descriptors',
  'rate_limit',
  'unit',
  'requests_per_unit',
  'unlimited',
  'shadow_mode',
  'quota_mode',
  'name',
  'replaces',
  'detailed_metric',
  'value_to_metric',
  'share_threshold',
  'metadata',
]);
const MAX_REQUESTS_PER_UNIT = 4_294_967_295;
/** Mappings within mappings. */
const MAX_DEPTH = 64;
/** Envoy refuses an answer with deeper metadata: messages within messages, up to 100, of which each level has three. */
const MAX_METADATA_DEPTH = 24;

function checkKeys({ entries }: YamlMap, depth: number): void {
  if (depth > MAX_DEPTH) throw new LimitsError(`config error, nested more than ${MAX_DEPTH} levels deep`);
  for (const [key, value] of entries.values()) {
    if (key.kind !== 'text') throw new LimitsError(`config error, key is not of type string: ${textOf(key)}`);
    if (!KEYS.has(key.value)) throw new LimitsError(`config error, unknown key '${textOf(key)}'`);
    if (key.value !== 'metadata') checkValue(key.value, value, depth);
  }
}

function checkValue(key: string, value: YamlValue, depth: number): void {
  if (value.kind === 'map') checkKeys(value, depth + 1);
  else if (value.kind === 'list') {
    for (const item of value.items) {
      if (item.kind !== 'map') {
        throw new LimitsError(
          `config error, yaml file contains list of type other than map: ${textOf(item)}`,
        );
      }
      checkKeys(item, depth + 1);
    }
  } else if (value.kind === 'float' || value.kind === 'uint') {
    const what =
      value.kind === 'float' ? 'a number with a fraction or an exponent' : 'a number beyond 64 bits';
    throw new LimitsError(`error checking config: ${key} is ${what}; a text needs quotes`);
  }
}

function metadataValue(value: YamlValue, depth: number): StructValue {
  if (depth > MAX_METADATA_DEPTH) {
    throw new LimitsError(`config error, metadata is nested more than ${MAX_METADATA_DEPTH} levels deep`);
  }
  switch (value.kind) {
    case 'null':
      return null;
    case 'int':
    case 'uint':
      return Number(value.value);
    case 'list':
      return value.items.map((item) => metadataValue(item, depth + 1));
    case 'map':
      return metadataOf(value, depth);
    case 'bool':
    case 'float':
    case 'text':
      return value.value;
  }
}
const metadataOf = ({ entries }: YamlMap, depth: number): Struct =>
  new Map([...entries.values()].map(([key, value]) => [metadataKey(key), metadataValue(value, depth + 1)]));
const metadataKey = (key: YamlScalar): string => (key.kind === 'null' ? '' : String(key.value));

type Fields = ReadonlyMap<string, (node: YamlNode) => void>;
type Found = Exclude<YamlNode, { readonly kind: 'alias' }>;

class FieldReader {
  readonly #walk = new YamlWalk();
  readonly #document: YamlDocument;

  constructor(document: YamlDocument) {
    this.#document = document;
  }

  file(): WrittenFile {
    const file: WrittenFile = { domain: '', descriptors: [] };
    const fields: Fields = new Map([
      ['domain', (node: YamlNode) => void (file.domain = this.#text(node, 'domain'))],
      ['descriptors', (node: YamlNode) => void (file.descriptors = this.#descriptors(node))],
    ]);
    this.#walk.visit(this.#document.root, (found) => this.#struct(found, fields, 'the file'));
    return file;
  }

  #descriptors(node: YamlNode): readonly WrittenDescriptor[] {
    return this.#list(node, 'descriptors', (found) => {
      const descriptor: WrittenDescriptor = {
        key: '',
        value: '',
        rateLimit: undefined,
        descriptors: [],
        shadowMode: false,
        quotaMode: false,
        detailedMetric: false,
        valueToMetric: false,
        shareThreshold: false,
        metadata: undefined,
      };
      this.#struct(found, this.#descriptorFields(descriptor), 'a descriptor');
      return descriptor;
    });
  }

  #descriptorFields(into: WrittenDescriptor): Fields {
    const fields = new Map<string, (node: YamlNode) => void>([
      ['key', (node) => void (into.key = this.#text(node, 'key'))],
      ['value', (node) => void (into.value = this.#text(node, 'value'))],
      ['rate_limit', (node) => void (into.rateLimit = this.#limit(node, into.rateLimit))],
      ['descriptors', (node) => void (into.descriptors = this.#descriptors(node))],
      ['metadata', (node) => void (into.metadata = this.#metadata(node, into.metadata))],
      ['shadow_mode', (node) => void (into.shadowMode = this.#flag(node, 'shadow_mode'))],
      ['quota_mode', (node) => void (into.quotaMode = this.#flag(node, 'quota_mode'))],
      ['detailed_metric', (node) => void (into.detailedMetric = this.#flag(node, 'detailed_metric'))],
      ['value_to_metric', (node) => void (into.valueToMetric = this.#flag(node, 'value_to_metric'))],
      ['share_threshold', (node) => void (into.shareThreshold = this.#flag(node, 'share_threshold'))],
    ]);
    return fields;
  }

  #limit(node: YamlNode, before: WrittenLimit | undefined): WrittenLimit | undefined {
    return this.#walk.visit(node, (found) => {
      if (isAbsent(found)) return undefined;
      const empty = { requestsPerUnit: 0, unit: '', unlimited: false, name: '', replaces: [] };
      const limit: WrittenLimit = before === undefined || this.#isNull(found) ? empty : before;
      const fields = new Map<string, (node: YamlNode) => void>([
        ['requests_per_unit', (value) => void (limit.requestsPerUnit = this.#amount(value))],
        ['unit', (value) => void (limit.unit = this.#text(value, 'unit'))],
        ['unlimited', (value) => void (limit.unlimited = this.#flag(value, 'unlimited'))],
        ['name', (value) => void (limit.name = this.#text(value, 'name'))],
        ['replaces', (value) => void (limit.replaces = this.#replaces(value))],
      ]);
      this.#struct(found, fields, 'rate_limit');
      return limit;
    });
  }

  #replaces(node: YamlNode): readonly string[] {
    return this.#list(node, 'replaces', (found) => {
      let name = '';
      const fields: Fields = new Map([
        ['name', (value: YamlNode) => void (name = this.#text(value, 'name'))],
      ]);
      this.#struct(found, fields, 'an entry of replaces');
      return name;
    });
  }

  /** Adds to what there is: a copy for each time that it is written is quadratic in the file. */
  #metadata(node: YamlNode, before: Metadata | undefined): Metadata | undefined {
    return this.#walk.visit(node, (found) => {
      if (this.#isNull(found)) return undefined;
      if (found.kind !== 'mapping') return this.#isNo(found, 'metadata', 'a mapping');
      const into: Metadata = before ?? new Map();
      this.#addMetadata(into, found);
      return into;
    });
  }

  #addMetadata(into: Metadata, { pairs }: YamlMapping): void {
    for (const [key, value] of pairs) {
      if (isMerge(key)) this.#walk.merge(value, (mapping) => this.#addMetadata(into, mapping));
      else into.set(this.#text(key, 'a key of metadata'), metadataValue(readYamlValue(value), 2));
    }
  }

  /** Of a mapping, and nothing of one that is null. */
  #struct(found: Found, fields: Fields, what: string): void {
    if (this.#isNull(found)) return;
    if (found.kind !== 'mapping') return this.#isNo(found, what, 'a mapping');
    this.#fields(found, fields);
  }

  #fields({ pairs }: YamlMapping, fields: Fields): void {
    for (const [key, value] of pairs) {
      if (isMerge(key)) this.#walk.merge(value, (mapping) => this.#fields(mapping, fields));
      else fields.get(this.#text(key, 'a key'))?.(value);
    }
  }

  #list<T>(node: YamlNode, what: string, item: (found: Found) => T): readonly T[] {
    return this.#walk.visit(node, (found) => {
      if (this.#isNull(found)) return [];
      if (found.kind !== 'sequence') return this.#isNo(found, what, 'a list');
      return found.items.map((one) => this.#walk.visit(one, item));
    });
  }

  /** As it was written, whatever it may be: of `007` three characters. */
  #text(node: YamlNode, what: string): string {
    return this.#walk.visit(node, (found) => {
      if (found.kind !== 'scalar') return this.#isNo(found, what, 'a string');
      const scalar = scalarOf(found);
      if (scalar.kind === 'null') return '';
      return scalar.kind === 'text' ? scalar.value : found.text;
    });
  }

  #flag(node: YamlNode, what: string): boolean {
    return this.#walk.visit(node, (found) => {
      const scalar = found.kind === 'scalar' ? scalarOf(found) : undefined;
      if (scalar?.kind === 'null') return false;
      return scalar?.kind === 'bool' ? scalar.value : this.#isNo(found, what, 'true or false');
    });
  }

  #amount(node: YamlNode): number {
    return this.#walk.visit(node, (found) => {
      const scalar = found.kind === 'scalar' ? scalarOf(found) : undefined;
      if (scalar?.kind === 'null') return 0;
      // A fraction is refused by the checks of keys, where no other value of the field follows.
      const amount =
        scalar?.kind === 'int' || scalar?.kind === 'float' ? Math.trunc(Number(scalar.value)) : -1;
      if (amount >= 0 && amount <= MAX_REQUESTS_PER_UNIT) return amount;
      return this.#isNo(found, 'requests_per_unit', `a whole number from 0 to ${MAX_REQUESTS_PER_UNIT}`);
    });
  }

  #isNull(found: Found): boolean {
    return found.kind === 'scalar' && scalarOf(found).kind === 'null';
  }

  #isNo({ offset }: Found, what: string, kind: string): never {
    const line = this.#document.lineOf(offset);
    throw new YamlFault(`unmarshal errors: line ${line}: ${what} must be ${kind}`);
  }
}

const scalarOf = ({ tag, text, isPlain }: YamlText): YamlScalar => resolveScalar(tag, text, isPlain);

/** `Null` and `NULL` are null too, but of a `rate_limit` they leave an empty one, as in the reference. */
const isAbsent = (found: Found): boolean =>
  found.kind === 'scalar' &&
  (found.tag === NULL_TAG || (found.isPlain && ['', '~', 'null'].includes(found.text)));

/**
 * Reads a file.
 *
 * @throws LimitsError in the words of the reference where it refuses the same.
 */
export function readLimitsFile(file: string | Uint8Array): WrittenFile {
  try {
    const document = readYamlNodes(typeof file === 'string' ? file : textOfBytes(file));
    const root = readYamlValue(document.root);
    const isEmpty = root.kind === 'null';
    if (root.kind !== 'map' && !isEmpty) {
      const line = document.lineOf(document.root.offset);
      throw new YamlFault(`unmarshal errors: line ${line}: the file must be a mapping`);
    }
    if (root.kind === 'map') checkKeys(root, 0);
    return new FieldReader(document).file();
  } catch (error) {
    if (error instanceof LimitsError) throw error;
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new LimitsError(`error loading config file: yaml: ${message}`);
  }
}
