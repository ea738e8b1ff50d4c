/** What an answer in one piece says of what is counted beside tokens: seconds of audio, images. */
import type { Amount } from './response-meter.ts';
import { type Fields, isObject } from './usage.ts';

/** A day: no request is longer, whoever says so. */
const MOST_SECONDS = 86_400;
const MOST_IMAGES = 128;

/** Text of a number too: `duration` of a verbose transcription is `"12.5"` in vLLM. */
function secondsOf(value: unknown): number | undefined {
  const isNumber =
    typeof value === 'number' || (typeof value === 'string' && /^\d{1,6}(?:\.\d+)?$/.test(value));
  const seconds = isNumber ? Number(value) : Number.NaN;
  return seconds >= 0 && seconds <= MOST_SECONDS ? seconds : undefined;
}

/** @param unit that the route is counted in. */
export function amountOf(unit: 'seconds' | 'images' | undefined, answer: Fields): Amount | undefined {
  if (unit === 'seconds') {
    const { usage, duration } = answer;
    const told = isObject(usage) && usage['type'] === 'duration' ? usage['seconds'] : duration;
    const audioSeconds = secondsOf(told);
    return audioSeconds === undefined ? undefined : { audioSeconds };
  }
  const { data } = answer;
  return unit === 'images' && Array.isArray(data)
    ? { images: Math.min(MOST_IMAGES, data.length) }
    : undefined;
}
