/** What commands print of files and engines. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { print, printError, printMarked } from '../../../src/cli/terminal.ts';

afterEach(() => void vi.restoreAllMocks());

describe('what is printed', () => {
  it('keeps its lines, and nothing that a terminal obeys', () => {
    const out = vi.spyOn(console, 'log').mockReturnValue();
    const err = vi.spyOn(console, 'error').mockReturnValue();
    const hostile = 'two\n\tlines \u001b[2J\u009b\u202e\r';
    print(hostile);
    printError(hostile);
    const shown = 'two\n\tlines \\u001b[2J\\u009b\\u202e\\r';
    expect([out.mock.calls, err.mock.calls]).toEqual([[[shown]], [[shown]]]);
  });

  it('is one line after a mark, whose colour stays', () => {
    const out = vi.spyOn(console, 'log').mockReturnValue();
    printMarked('\u001b[32mok\u001b[0m', 'serves a\nproblem  b\u001b[0m');
    expect(out.mock.calls).toEqual([['\u001b[32mok\u001b[0m  serves a\\nproblem  b\\u001b[0m']]);
  });
});
