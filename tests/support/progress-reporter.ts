/** Vitest's usual report, where each line of a file also says in which part of the run it is and how far that is. */
import {
  DefaultReporter,
  type TestCase,
  type TestModule,
  type TestProject,
  type TestSpecification,
  type TestSuite,
} from 'vitest/node';

interface Part {
  readonly projects: Set<string>;
  readonly workers: number;
  files: number;
  done: number;
}

const orderOf = (project: TestProject): number => project.config.sequence.groupOrder;

const clock = (ms: number): string => {
  const s = Math.round(ms / 1_000);
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
};

export default class ProgressReporter extends DefaultReporter {
  /** By the order in which Vitest runs them: those of one order run side by side. */
  readonly #parts = new Map<number, Part>();

  override onTestRunStart(specifications: readonly TestSpecification[]): void {
    super.onTestRunStart(specifications);
    this.#parts.clear();
    for (const { project } of specifications.toSorted((a, b) => orderOf(a.project) - orderOf(b.project))) {
      const order = orderOf(project);
      const { maxWorkers } = project.config;
      const part: Part = this.#parts.get(order) ?? {
        projects: new Set(),
        workers: maxWorkers,
        files: 0,
        done: 0,
      };
      part.projects.add(project.name);
      part.files += 1;
      this.#parts.set(order, part);
    }
    for (const [i, part] of [...this.#parts.values()].entries()) {
      const files = `${part.files} ${part.files === 1 ? 'file' : 'files'}, ${part.workers} at a time`;
      this.log(` part ${i + 1} of ${this.#parts.size}: ${[...part.projects].join(', ')}: ${files}`);
    }
  }

  /** What follows the mark of a file that has ended. */
  #progress = '';

  override onTestModuleEnd(module: TestModule): void {
    const order = orderOf(module.project);
    const part = this.#parts.get(order);
    if (part !== undefined) {
      part.done += 1;
      const number = [...this.#parts.keys()].indexOf(order) + 1;
      const where = `part ${number}/${this.#parts.size}, file ${part.done}/${part.files}`;
      this.#progress = `[${clock(performance.now() - this.start)} ${where}] `;
    }
    super.onTestModuleEnd(module);
    this.#progress = '';
  }

  protected override getEntityPrefix(entity: TestCase | TestModule | TestSuite): string {
    return this.#progress + super.getEntityPrefix(entity);
  }
}
