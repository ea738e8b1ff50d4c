import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readForm } from '../../../../src/openai/form/scan.ts';
import { boundaryOf } from '../../../../src/openai/form/type.ts';

const field = (name: string, value: string): string =>
  `content-disposition: form-data; name="${name}"\r\n\r\n${value}`;
const form = (...parts: readonly string[]): string =>
  `${parts.map((part) => `--b1\r\n${part}\r\n`).join('')}--b1--\r\n`;
const read = (text: string) => readForm(Buffer.from(text, 'latin1'), 'b1');
const MODEL = field('model', 'demo');
const FILE =
  'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n\r\n--b';

describe('the content type of a form', () => {
  it.each([
    [
      'multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW',
      '----WebKitFormBoundary7MA4YWxkTrZu0gW',
    ],
    ['multipart/form-data; boundary="a/b=c"', 'a/b=c'],
    ['Multipart/Form-Data;boundary=0123', '0123'],
    [`multipart/form-data; boundary=${'b'.repeat(70)}`, 'b'.repeat(70)],
  ])('%s', (type, boundary) => {
    expect(boundaryOf(type)).toBe(boundary);
  });

  it.each([
    ['nothing', ''],
    ['JSON', 'application/json'],
    ['no boundary', 'multipart/form-data'],
    ['an empty one', 'multipart/form-data; boundary='],
    ['an empty one in quotes', 'multipart/form-data; boundary=""'],
    ['two', 'multipart/form-data; boundary=a; boundary=b'],
    ['two headers', 'multipart/form-data; boundary=a, multipart/form-data; boundary=b'],
    ['another parameter', 'multipart/form-data; charset=utf-7; boundary=a'],
    ['an extended one', "multipart/form-data; boundary*=utf-8''a"],
    ['one in parts', 'multipart/form-data; boundary*0=a; boundary*1=b'],
    ['an escape', 'multipart/form-data; boundary="a\\"b"'],
    ['white space in it', 'multipart/form-data; boundary="a b"'],
    ['hyphens at its end', 'multipart/form-data; boundary=a--'],
    ['too long a one', `multipart/form-data; boundary=${'b'.repeat(71)}`],
    ['a mixed form', 'multipart/mixed; boundary=a'],
  ])('with %s is none', (_, type) => {
    expect(boundaryOf(type)).toBeUndefined();
  });
});

describe('a form', () => {
  it('is read where it lies: names, files and their places', () => {
    const text = form(FILE, MODEL);
    const reading = read(text);
    if (reading.kind === 'bad') throw new Error(reading.message);
    expect(
      reading.form.parts.map(({ name, isFile, dataStart, dataEnd }) => [
        name,
        isFile,
        text.slice(dataStart, dataEnd),
      ]),
    ).toEqual([
      ['file', true, 'RIFF\r\n\r\n--b'],
      ['model', false, 'demo'],
    ]);
  });

  it('may end without a line break, have empty fields, and say how long its parts are', () => {
    const long = 'content-disposition: form-data; name="a"\r\ncontent-length: 2\r\n\r\nxy';
    expect(read(form(field('b', ''), long).slice(0, -2)).kind).toBe('ok');
  });

  const head = (text: string): string => form(`${text}\r\n\r\ndemo`);
  it.each([
    ['nothing', ''],
    ['no part', '--b1--\r\n'],
    ['a preamble', `hello\r\n${form(MODEL)}`],
    ['a line break first', `\r\n${form(MODEL)}`],
    ['an epilogue', `${form(MODEL)}hello`],
    ['an epilogue of a second form', form(MODEL) + form(field('model', 'other'))],
    ['no end', form(MODEL).slice(0, -4)],
    ['another boundary', form(MODEL).replaceAll('b1', 'b2')],
    ['line feeds alone', form(MODEL).replaceAll('\r\n', '\n')],
    ['a delimiter behind a line feed in a file', form(`${FILE}x\n--b1\nevil`, MODEL)],
    ['a delimiter behind a carriage return in a file', form(`${FILE}x\r--b1\r`, MODEL)],
    ['a boundary that goes on', form(`${FILE}x\r\n--b1x`, MODEL)],
    ['white space behind a boundary', form(MODEL).replace('--b1\r\n', '--b1 \r\n')],
    ['a boundary without its hyphens', form(field('prompt', 'b1'), MODEL)],
    ['a boundary in a line', form(field('prompt', 'say --b1 twice'), MODEL)],
    [
      'a boundary in a head',
      form('content-disposition: form-data; name="a"; filename="--b1"\r\n\r\nx', MODEL),
    ],
    ['a part without a head', `--b1\r\n\r\nx\r\n--b1--`],
    [
      'a part without a line between head and end',
      '--b1\r\ncontent-disposition: form-data; name="a"\r\n\r\n--b1--',
    ],
    ['a head without an end', `--b1\r\n${'x'.repeat(5_000)}`],
    ['a huge head', head(`content-disposition: form-data; name="model"; filename="${'x'.repeat(5_000)}"`)],
    ['a folded head', head('content-disposition: form-data;\r\n name="model"')],
    [
      'two dispositions',
      head('content-disposition: form-data; name="a"\r\ncontent-disposition: form-data; name="model"'),
    ],
    ['two names', head('content-disposition: form-data; name="a"; name="model"')],
    ['an extended name', head(`content-disposition: form-data; name*=utf-8''model`)],
    ['both names', head(`content-disposition: form-data; name="a"; name*=utf-8''model`)],
    ['a name without quotes', head('content-disposition: form-data; name=model')],
    ['an escaped quote', head('content-disposition: form-data; name="a\\"; name=\\"model"')],
    ['a file name before the name', head('content-disposition: form-data; filename="x"; name="model"')],
    [
      'a semicolon in the file name',
      head('content-disposition: form-data; name="a"; filename="x; name=model"'),
    ],
    ['an escape in the file name', head('content-disposition: form-data; name="a"; filename="x\\"y"')],
    ['a strange file name', head(`content-disposition: form-data; name="a"; filename*=utf-7''model`)],
    ['another disposition', head('content-disposition: attachment; name="model"')],
    ['no name', head('content-disposition: form-data')],
    ['an empty name', head('content-disposition: form-data; name=""')],
    ['a name with a line', head('content-disposition: form-data; name="mo\ndel"')],
    ['a name that is percent-encoded', head('content-disposition: form-data; name="mod%65l"')],
    ['a null in the head', head('content-disposition: form-data; name="a"\0')],
    ['another header', head('content-disposition: form-data; name="a"\r\nx-other: 1')],
    ['a header without a name', head('content-disposition: form-data; name="a"\r\n: 1')],
    ['white space before the colon', head('content-disposition : form-data; name="a"')],
    [
      'a transfer encoding',
      head('content-disposition: form-data; name="model"\r\ncontent-transfer-encoding: base64'),
    ],
    [
      'another charset',
      head('content-disposition: form-data; name="model"\r\ncontent-type: text/plain; charset=utf-16'),
    ],
    [
      'JSON for a field',
      head('content-disposition: form-data; name="model"\r\ncontent-type: application/json'),
    ],
    [
      'parts in a part',
      head(
        'content-disposition: form-data; name="f"; filename="f"\r\ncontent-type: multipart/mixed; boundary=c',
      ),
    ],
    [
      'a message in a part',
      head('content-disposition: form-data; name="f"; filename="f"\r\ncontent-type: message/rfc822'),
    ],
    ['a length that is another', head('content-disposition: form-data; name="model"\r\ncontent-length: 3')],
    ['a length that is none', head('content-disposition: form-data; name="model"\r\ncontent-length: -1')],
    ['too many parts', form(...Array.from({ length: 65 }, (_, i) => field(`f${i}`, 'x')))],
  ])('with %s is refused', (_, text) => {
    expect(read(text)).toMatchObject({
      kind: 'bad',
      message: expect.stringMatching(/^The form could not be read: .+\.$/),
    });
  });

  it('is read in steps, and the same wherever they end', () => {
    for (const size of [524_280, 524_288, 524_300, 1_048_576, 1_048_580]) {
      const bytes = Buffer.from(form(`${FILE}${'x'.repeat(size)}`, MODEL), 'latin1');
      const reading = readForm(bytes, 'b1');
      expect(reading).toMatchObject({ kind: 'ok' });
    }
  });

  /** What clients build, with whatever in it, and what Node.js's own reader makes of it. */
  it('says what another reader says, or is refused', async () => {
    const name = fc.constantFrom('model', 'file', 'prompt', 'x', 'a.b', 'list[]');
    const text = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '--b1',
        '\r\n--b1',
        '\n--b1\n',
        '\r\n--b1--',
        '\r\n--b1\r\ncontent-disposition: form-data; name="model"\r\n\r\nevil',
      ),
      fc.string({ unit: fc.constantFrom('\r', '\n', '-', 'b', '1', '"', ';', ' ') }),
    );
    const part = fc.oneof(
      fc.tuple(name, text).map(([n, value]) => field(n, value)),
      fc
        .tuple(name, text)
        .map(([n, value]) => `content-disposition: form-data; name="${n}"; filename="f"\r\n\r\n${value}`),
      fc.tuple(text, text).map(([a, b]) => `content-disposition: form-data; name="${a}"\r\n\r\n${b}`),
      text,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(part, { maxLength: 5 }),
        fc.constantFrom('', '\r\n', 'x'),
        async (parts, tail) => {
          const bytes = Buffer.from(form(...parts) + tail);
          const reading = readForm(bytes, 'b1');
          if (reading.kind === 'bad') return;
          const type = 'multipart/form-data; boundary=b1';
          const other = await new Response(bytes, { headers: { 'content-type': type } }).formData();
          const expected = await Promise.all(
            [...other].map(async ([key, value]) => [
              key,
              typeof value !== 'string',
              typeof value === 'string' ? value : Buffer.from(await value.arrayBuffer()).toString(),
            ]),
          );
          const own = reading.form.parts.map(({ name: key, isFile, dataStart, dataEnd }) => [
            key,
            isFile,
            bytes.toString('utf8', dataStart, dataEnd),
          ]);
          expect(own).toEqual(expected);
        },
      ),
      { numRuns: 2_000, seed: 20_261_128 },
    );
  });

  it('that a client builds is read', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 2_000 }),
        fc.string({ minLength: 1, unit: 'grapheme' }),
        async (bytes, model) => {
          const built = new FormData();
          built.set('file', new File([bytes], 'speech.wav'));
          built.set('model', model);
          const response = new Response(built);
          const boundary = boundaryOf(response.headers.get('content-type') ?? '');
          const body = Buffer.from(await response.arrayBuffer());
          const reading = readForm(body, boundary ?? '');
          if (reading.kind === 'bad') throw new Error(reading.message);
          const [file, text] = reading.form.parts;
          expect(body.subarray(file?.dataStart, file?.dataEnd).equals(bytes)).toBe(true);
          expect(body.toString('utf8', text?.dataStart, text?.dataEnd)).toBe(
            model.replaceAll(/\r\n|\r|\n/g, '\r\n'),
          );
        },
      ),
      { numRuns: 300, seed: 20_261_128 },
    );
  });
});
