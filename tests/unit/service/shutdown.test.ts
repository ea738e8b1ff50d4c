import { describe, expect, it } from 'vitest';
import { Shutdown } from '../../../src/service/shutdown.ts';

/** Steps that note what is done to them, in order. */
function stepsOf(...names: readonly string[]) {
  const shutdown = new Shutdown();
  const done: string[] = [];
  for (const name of names) {
    shutdown.opened({
      name,
      close: async () => {
        done.push(`${name} closing`);
        await Promise.resolve();
        done.push(`${name} closed`);
      },
    });
  }
  return { shutdown, done };
}

const IN_REVERSE = ['c closing', 'c closed', 'b closing', 'b closed', 'a closing', 'a closed'];

describe('a shutdown', () => {
  it('closes in reverse order, each when the one opened after it is closed', async () => {
    const { shutdown, done } = stepsOf('a', 'b', 'c');
    await shutdown.close();
    expect(done).toEqual(IN_REVERSE);
  });

  it('closes each once: a second call waits for the first', async () => {
    const { shutdown, done } = stepsOf('a', 'b', 'c');
    const first = shutdown.close();
    await shutdown.close();
    expect(done).toEqual(IN_REVERSE);
    await first;
    await shutdown.close();
    expect(done).toEqual(IN_REVERSE);
  });

  it('closes the others when one cannot be closed, and says which', async () => {
    const { shutdown, done } = stepsOf('a');
    shutdown.opened({ name: 'socket', close: () => Promise.reject(new Error('busy')) });
    shutdown.opened({
      name: 'file',
      close() {
        throw new Error('gone');
      },
    });
    await expect(shutdown.close()).rejects.toThrow('not closed: file: gone; socket: busy');
    expect(done).toEqual(['a closing', 'a closed']);
  });

  it('takes nothing more once it has begun', async () => {
    const { shutdown } = stepsOf('a');
    const closing = shutdown.close();
    expect(() => shutdown.opened({ name: 'late' })).toThrow('late: opened after the end');
    await closing;
  });
});

describe('a start that fails', () => {
  it('is taken back in reverse order, by what undoes a step, or else closes it', async () => {
    const { shutdown, done } = stepsOf('a');
    const note = (text: string) => () => void done.push(text);
    shutdown.opened({ name: 'b', close: note('b closed'), undo: note('b undone') });
    shutdown.opened({ name: 'c', undo: note('c undone') });
    await expect(shutdown.fail(new Error('port taken'))).rejects.toThrow(/^port taken$/);
    expect(done).toEqual(['c undone', 'b undone', 'a closing', 'a closed']);
  });

  it('is not closed too', async () => {
    const { shutdown, done } = stepsOf('a');
    await expect(shutdown.fail(new Error('port taken'))).rejects.toThrow('port taken');
    await shutdown.close();
    expect(done).toEqual(['a closing', 'a closed']);
  });

  it('says its reason first, and what could not be taken back', async () => {
    const { shutdown } = stepsOf('a');
    shutdown.opened({ name: 'file', undo: () => Promise.reject(new Error('busy')) });
    await expect(shutdown.fail(new Error('port taken'))).rejects.toThrow(
      'port taken (not closed: file: busy)',
    );
  });

  it('leaves what was only to be undone, where the service ran', async () => {
    const { shutdown, done } = stepsOf('a');
    shutdown.opened({ name: 'b', undo: () => void done.push('b undone') });
    await shutdown.close();
    expect(done).toEqual(['a closing', 'a closed']);
  });
});
