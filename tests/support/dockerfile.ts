/**
 * A Dockerfile's instructions, and what they make of folders: no Docker engine is needed to know what is in an image.
 *
 * Of base images there is nothing: every path of a stage is below a folder of its own, and RUN has the programs of this machine.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, posix } from 'node:path';

interface Instruction {
  readonly word: string;
  readonly rest: string;
}

interface Stage {
  readonly from: string;
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

/** What a stage is at its end. */
export interface BuiltStage {
  /** Where its `/` is. */
  readonly root: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** By word, the last instruction of those that only say how it runs: USER, CMD, ENTRYPOINT, … */
  readonly settings: ReadonlyMap<string, string>;
}

export interface DockerBuild {
  /** The folder that `docker build` is given. */
  readonly context: string;
  /** Of each stage by its name, or its place: an empty folder. */
  readonly rootOf: (stage: string) => string;
  readonly args: Readonly<Record<string, string>>;
  /** What is run for a RUN, in the stage's folder. */
  readonly run: (command: string, workdir: string) => string;
}

/** A line that begins with # is a comment wherever it stands, and the last backslash joins lines. */
function instructionsOf(text: string): readonly Instruction[] {
  const joined = text.replaceAll(/^[ \t]*#.*\n/gm, '').replaceAll(/\\[ \t]*\n/g, '');
  return joined
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [, word = '', rest = ''] = /^\s*(\w+)\s+(.*)$/.exec(line) ?? [];
      return { word: word.toUpperCase(), rest };
    });
}

function stagesOf(text: string): readonly Stage[] {
  const stages: { from: string; name: string; instructions: Instruction[] }[] = [];
  for (const one of instructionsOf(text)) {
    if (one.word !== 'FROM') {
      stages.at(-1)?.instructions.push(one);
      continue;
    }
    const [from = '', , name = String(stages.length)] = one.rest.split(/\s+/);
    stages.push({ from, name, instructions: [] });
  }
  return stages;
}

/** What of this process's environment is no setting of the tests' own: npm and Vitest tell their children much. */
const FROM_HERE = ['PATH', 'HOME', 'npm_config_cache', 'npm_config_registry', 'npm_config_userconfig'];
const environmentHere = (): Record<string, string> =>
  Object.fromEntries(
    FROM_HERE.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );

/** Names at the top of the context that Docker is not sent. */
const ignoredIn = (context: string): ReadonlySet<string> =>
  new Set(readFileSync(join(context, '.dockerignore'), 'utf8').split('\n').filter(Boolean));

class StageBuild {
  readonly #build: DockerBuild;
  readonly #stage: Stage;
  readonly #before: ReadonlyMap<string, BuiltStage>;
  readonly #root: string;
  #workdir = '/';
  readonly #args: Record<string, string> = {};
  readonly #variables: Record<string, string> = {};
  readonly #labels: Record<string, string> = {};
  readonly #settings = new Map<string, string>();

  constructor(build: DockerBuild, stage: Stage, before: ReadonlyMap<string, BuiltStage>) {
    this.#build = build;
    this.#stage = stage;
    this.#before = before;
    this.#root = build.rootOf(stage.name);
  }

  /** @throws at what it does not know, and what Docker would fail at. */
  run(): BuiltStage {
    for (const { word, rest } of this.#stage.instructions) this.#do(word, this.#filledIn(word, rest));
    return {
      root: this.#root,
      variables: this.#variables,
      labels: this.#labels,
      settings: this.#settings,
    };
  }

  /** The shell fills in what RUN has. */
  #filledIn(word: string, rest: string): string {
    if (word === 'RUN') return rest;
    return rest.replaceAll(
      /\$\{(\w+)\}/g,
      (_, name: string) => this.#variables[name] ?? this.#args[name] ?? '',
    );
  }

  #do(word: string, rest: string): void {
    switch (word) {
      case 'WORKDIR':
        this.#workdir = posix.resolve(this.#workdir, rest);
        mkdirSync(join(this.#root, this.#workdir), { recursive: true });
        return;
      case 'ARG': {
        const [name = '', usual = ''] = rest.split('=');
        this.#args[name] = this.#build.args[name] ?? usual;
        return;
      }
      case 'ENV':
        return this.#assign(this.#variables, rest);
      case 'LABEL':
        return this.#assign(this.#labels, rest);
      case 'COPY':
        return this.#copy(rest);
      case 'RUN': {
        const workdir = join(this.#root, this.#workdir);
        const command = this.#build.run(rest, workdir).replaceAll(/(?<=\s)\/(?=run|var)/g, `${this.#root}/`);
        const env = { ...environmentHere(), ...this.#args, ...this.#variables };
        execFileSync('sh', ['-ec', command], { cwd: workdir, env, stdio: ['ignore', 'ignore', 'pipe'] });
        return;
      }
      default:
        if (!/^(USER|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD)$/.test(word)) throw new Error(`${word}?`);
        this.#settings.set(word, rest);
    }
  }

  #assign(to: Record<string, string>, text: string): void {
    for (const [, name = '', quoted, plain = ''] of text.matchAll(/([\w.-]+)=(?:"([^"]*)"|(\S+))/g)) {
      to[name] = quoted ?? plain;
    }
  }

  /** A folder's content goes into the target, as Docker does; what is not there is a failure. */
  #copy(rest: string): void {
    const words = rest.split(/\s+/);
    const stage = /^--from=(.*)$/.exec(words[0] ?? '')?.[1];
    const from = stage === undefined ? this.#build.context : (this.#before.get(stage)?.root ?? '');
    const ignored = stage === undefined ? ignoredIn(from) : new Set<string>();
    const paths = words.filter((word) => !word.startsWith('--'));
    const target = paths.pop() ?? '';
    const to = join(this.#root, posix.resolve(this.#workdir, target));
    if (paths.length > 1 && !target.endsWith('/')) throw new Error(`COPY of many is into a folder: ${rest}`);
    for (const path of paths) {
      const source = join(from, path);
      if (!existsSync(source)) throw new Error(`COPY: no ${path}`);
      if (ignored.has(path.split('/')[0] ?? '')) throw new Error(`COPY: ${path} is in .dockerignore`);
      if (statSync(source).isDirectory()) {
        mkdirSync(to, { recursive: true });
        execFileSync('cp', ['-R', '-P', ...readdirSync(source).map((name) => join(source, name)), to]);
      } else {
        execFileSync('cp', [source, target.endsWith('/') ? join(to, basename(path)) : to]);
      }
    }
  }
}

/** Builds all stages. @returns the last, which is the image. */
export function buildByHand(dockerfile: string, build: DockerBuild): BuiltStage {
  const built = new Map<string, BuiltStage>();
  for (const stage of stagesOf(dockerfile)) built.set(stage.name, new StageBuild(build, stage, built).run());
  const image = [...built.values()].at(-1);
  if (image === undefined) throw new Error('the Dockerfile has no stage');
  return image;
}
