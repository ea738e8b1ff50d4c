import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { DEFAULT_STATUS_QUERY, STATUS_SORTS, type StatusSort } from '../admin/status.ts';
import type { HostPort } from '../config/config.ts';
import { hostPortText } from '../domain/host-port.ts';
import { messageOf } from '../domain/text-of.ts';
import { Screen } from './screen.ts';
import {
  type Answer,
  addressOf,
  addressOption,
  askStatus,
  configOfRunning,
  type Where,
} from './status-client.ts';
import { hasColour, print, printError, printLines } from './terminal.ts';
import { actionsOf, topFrame } from './top-frame.ts';

interface Options extends Where {
  readonly sort: StatusSort;
  readonly once?: true;
  readonly json?: true;
}

const INTERVAL_MS = 1_000;
/** Of an answer, before it is told that there is none. */
const PATIENCE_MS = 2_000;
/** Where nothing says how large a page is. */
const PAGE = { columns: 100, rows: 60 };
/** More rows than a terminal has are not asked for. */
const MOST_ROWS = 200;

const queryOf = (sort: StatusSort, rows: number) => ({
  ...DEFAULT_STATUS_QUERY,
  tenants: Math.min(MOST_ROWS, Math.max(1, rows)),
  sort,
});

/** What is on the screen, and what it was made of. */
class LiveTop {
  readonly #address: HostPort;
  readonly #screen: Screen;
  #sort: StatusSort;
  #answer: Answer;
  #answeredMs = performance.now();
  #problem: string | undefined;
  #isOver = false;
  /** Wakes it from waiting for the next second. */
  #wake = new AbortController();

  constructor(address: HostPort, sort: StatusSort, first: Answer) {
    this.#address = address;
    this.#sort = sort;
    this.#answer = first;
    const events = {
      onTyped: (typed: string) => this.#typed(typed),
      onChanged: () => this.#draw(),
      onEnd: () => this.#end(),
    };
    this.#screen = new Screen(events, hasColour(process.stdout));
  }

  /** Resolves when its user has enough. */
  async run(): Promise<void> {
    this.#screen.open();
    try {
      while (!this.#isOver) {
        this.#draw();
        await sleep(INTERVAL_MS, undefined, { signal: this.#wake.signal }).catch(() => undefined);
        if (this.#isOver) break;
        if (this.#wake.signal.aborted) this.#wake = new AbortController();
        await this.#ask();
      }
    } finally {
      this.#screen.close();
    }
  }

  /** Redraws each second while it waits for an answer. */
  async #ask(): Promise<void> {
    const ticks = setInterval(() => this.#draw(), INTERVAL_MS);
    try {
      this.#answer = await askStatus(this.#address, queryOf(this.#sort, this.#screen.size.rows), PATIENCE_MS);
      this.#answeredMs = performance.now();
      this.#problem = undefined;
    } catch (error) {
      this.#problem = messageOf(error);
    } finally {
      clearInterval(ticks);
    }
  }

  #draw(): void {
    const silentMs = performance.now() - this.#answeredMs;
    this.#screen.draw(
      topFrame(this.#answer.report, {
        ...this.#screen.size,
        sort: this.#sort,
        where: hostPortText(this.#address),
        hasKeys: this.#screen.hasKeys,
        ...((this.#problem !== undefined || silentMs > PATIENCE_MS) && { silentMs }),
        ...(this.#problem !== undefined && { problem: this.#problem }),
      }),
    );
  }

  #typed(typed: string): void {
    for (const action of actionsOf(typed)) {
      if (action.kind === 'quit') this.#end();
      else if (action.kind === 'suspend') this.#screen.suspend();
      else {
        this.#sort = action.sort;
        this.#draw();
        this.#wake.abort();
      }
    }
  }

  #end(): void {
    this.#isOver = true;
    this.#wake.abort();
    this.#screen.close();
    process.exit(0);
  }
}

/** A document a second, each on a line, until it is stopped. What is wrong meanwhile is told once. */
async function printEverySecond(address: HostPort, sort: StatusSort): Promise<never> {
  for (let told = ''; ; await sleep(INTERVAL_MS)) {
    try {
      print(JSON.stringify((await askStatus(address, queryOf(sort, MOST_ROWS), PATIENCE_MS)).document));
      told = '';
    } catch (error) {
      if (messageOf(error) !== told) printError(`fairlane: warning: ${messageOf(error)}`);
      told = messageOf(error);
    }
  }
}

/** Of a terminal. */
const columnsOf = ({ isTTY, columns }: NodeJS.WriteStream) => (isTTY ? { columns } : {});

function printFrame({ report }: Answer, sort: StatusSort, address: HostPort): void {
  const state = { ...PAGE, ...columnsOf(process.stdout), sort, where: hostPortText(address), hasKeys: false };
  printLines(topFrame(report, state));
}

const EXAMPLES = `
Keys: q, Ctrl-C: quit; w, r, s, t, f, n: sort by waiting, running, requests/s, tokens/s, time to first token, name.

Examples:
  fairlane top
  fairlane top --sort tokens
  fairlane top --once --json | jq .totals
  watch -n 5 fairlane top --once
`;

/** `fairlane top`: pools, endpoints and tenants, drawn anew each second. */
export function topCommand(): Command {
  return new Command('top')
    .description(
      'Show pools, endpoints and the tenants with the most requests, anew each second, until q or Ctrl-C. Where the standard output is no terminal, one picture is printed.',
    )
    .addOption(configOfRunning())
    .addOption(addressOption())
    .addOption(
      new Option('--sort <by>', 'what tenants are sorted by').choices(STATUS_SORTS).default('waiting'),
    )
    .option('--once', 'print one picture, and end')
    .option('--json', 'print the document of /status: one with --once, else one a second, each on a line')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const { sort } = options;
      const address = addressOf(options);
      if (options.json === true && options.once !== true) await printEverySecond(address, sort);
      const first = await askStatus(address, queryOf(sort, process.stdout.rows ?? PAGE.rows));
      if (options.json === true) print(JSON.stringify(first.document, undefined, 2));
      else if (options.once === true || !process.stdout.isTTY) printFrame(first, sort, address);
      else await new LiveTop(address, sort, first).run();
    });
}
