/** What the members of a message or part are, by their names. */
import type { MediumKind } from '../config/config.ts';
import { NAME } from './names.ts';

/** What a member of a message or part is. */
const OTHER = 0;
export const MEDIUM = 1;
export const TENSOR = 2;
/** A word of the API, which no template renders, as long as it is a word. */
export const WORD = 3;
/** Text or parts again. */
export const CONTENT = 4;
export const FILE_ID = 5;
/** Where a part of a medium is from. In other parts it is text: a citation's. */
export const PLACE = 6;

export const MEDIA: ReadonlyMap<number, MediumKind> = new Map([
  [NAME.image_url, 'image'],
  [NAME.input_image, 'image'],
  [NAME.image, 'image'],
  [NAME.video_url, 'video'],
  [NAME.input_video, 'video'],
  [NAME.video, 'video'],
  [NAME.audio_url, 'audio'],
  [NAME.input_audio, 'audio'],
  [NAME.audio, 'audio'],
  [NAME.file, 'file'],
  [NAME.file_url, 'file'],
  [NAME.file_data, 'file'],
  [NAME.source, 'file'],
]);
/** By name. */
const CLASSES: Uint8Array = (() => {
  const classes = new Uint8Array(Math.max(...Object.values(NAME)) + 1);
  for (const name of MEDIA.keys()) classes[name] = MEDIUM;
  // Engines would unpack them.
  for (const name of [
    'image_pil',
    'image_embeds',
    'audio_embeds',
    'video_embeds',
    'prompt_embeds',
  ] as const) {
    classes[NAME[name]] = TENSOR;
  }
  for (const name of [
    'type',
    'index',
    'status',
    'cache_control',
    'detail',
    'media_type',
    'format',
    'phase',
    'is_error',
    'logprobs',
  ] as const) {
    classes[NAME[name]] = WORD;
  }
  for (const name of ['content', 'output', 'summary', 'thinking'] as const) classes[NAME[name]] = CONTENT;
  classes[NAME.file_id] = FILE_ID;
  classes[NAME.url] = PLACE;
  classes[NAME.path] = PLACE;
  return classes;
})();
/** Names that a policy forbids are numbered behind ours: nothing is known of them. */
export const classOf = (name: number): number => CLASSES[name] ?? OTHER;

/** In a medium: what it is fetched from. */
export const LINKS: ReadonlySet<number> = new Set([
  NAME.url,
  NAME.path,
  NAME.image_url,
  NAME.video_url,
  NAME.audio_url,
  NAME.file_url,
  NAME.image,
  NAME.video,
  NAME.audio,
  NAME.file,
]);

/** In a medium: the medium itself. */
export const BLOBS: ReadonlySet<number> = new Set([NAME.data, NAME.file_data, NAME.b64_json]);
