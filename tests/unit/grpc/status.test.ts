import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { encodeMessage } from '../../../src/grpc/status.ts';

it('a status message is printable ASCII on the wire, and the text again when it is decoded', () => {
  expect(encodeMessage('100 % of "ä"\n')).toBe('100 %25 of "%C3%A4"%0A');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const encoded = encodeMessage(text);
      expect(encoded).toMatch(/^[ -~]*$/);
      expect(decodeURIComponent(encoded)).toBe(text);
    }),
  );
});
