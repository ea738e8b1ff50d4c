/**
 * Other names of models, and what serves a request when its model cannot.
 *
 * An alias stands for one model, also by way of other aliases. A model's fallbacks are tried in their order; they are not followed
 * further, so two models may stand in for one another. Circles of aliases, a fallback to the model itself and names that nothing
 * serves are refused when the configuration is loaded.
 *
 * Who may use what is the caller's to say (`tries`): a fallback opens no model to a tenant that may not use it.
 */

import { quote } from './report.ts';

/** Why a model cannot serve a request now. */
export type UnavailableReason = 'no-endpoint' | 'queue-full';

interface AliasConfig {
  readonly aliases: ReadonlyMap<string, string>;
  /** By model: models or aliases, in their order. */
  readonly fallbacks: ReadonlyMap<string, readonly string[]>;
}

/** What the caller says of a model for this request. */
export type ModelAvailability =
  | { readonly kind: 'ok' }
  | { readonly kind: 'hindered'; readonly by: UnavailableReason }
  /** The tenant may not use it, or it does not exist: it is passed over, and nothing is told of it. */
  | { readonly kind: 'denied' };

export type ModelChoice =
  | { readonly kind: 'serve'; readonly model: string }
  /** Of the model that was asked for. */
  | { readonly kind: 'hindered'; readonly model: string; readonly by: UnavailableReason }
  | { readonly kind: 'denied' };

export interface Aliases {
  /** The model behind a name; a name that is no alias stands for itself. */
  modelOf(name: string): string;
  /** @param tries of a model, and the name by which it was asked for: an alias or its own. */
  choose(asked: string, tries: (model: string, name: string) => ModelAvailability): ModelChoice;
  /** Every alias, for the list of models. */
  names(): readonly string[];
}

interface AliasProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
  /** The name that nothing serves. */
  readonly unknown?: string;
}

export type LoadedAliases =
  | { readonly kind: 'ok'; readonly aliases: Aliases }
  | { readonly kind: 'bad'; readonly problems: readonly AliasProblem[] };

/** More names of a circle tell nothing more. */
const SHOWN_OF_CIRCLE = 5;

const shown = (path: readonly string[], back: string): string =>
  [
    ...path.slice(0, SHOWN_OF_CIRCLE).map(quote),
    ...(path.length > SHOWN_OF_CIRCLE ? ['…'] : []),
    quote(back),
  ].join(' → ');

const nothingServes = (path: AliasProblem['path'], name: string): AliasProblem => ({
  path,
  message: `no pool serves ${quote(name)}; name a model that one does`,
  unknown: name,
});

/** @param exists undefined: an engine may announce it. */
export function loadAliases(
  { aliases, fallbacks }: AliasConfig,
  exists: (model: string) => boolean | undefined,
): LoadedAliases {
  const problems: AliasProblem[] = [];
  const models = new Map<string, string>();
  for (const alias of aliases.keys()) {
    const path = ['aliases', alias];
    const passed = new Set([alias]);
    let name = aliases.get(alias) ?? alias;
    for (let next = aliases.get(name); next !== undefined && !passed.has(name); next = aliases.get(name)) {
      passed.add(name);
      name = next;
    }
    if (passed.has(name)) {
      const circle = shown([...passed], name);
      problems.push({ path, message: `goes in a circle: ${circle}; name a model at its end` });
    } else if (exists(alias) === true) {
      problems.push({ path, message: "is a model's own name; choose another for the alias" });
    } else if (exists(name) === false) {
      problems.push(nothingServes(path, name));
    } else models.set(alias, name);
  }
  const modelOf = (name: string): string => models.get(name) ?? name;

  for (const [name, others] of fallbacks) {
    others.forEach((other, i) => {
      const path = ['models', name, 'fallback', i];
      if (modelOf(other) === name) {
        problems.push({ path, message: `${quote(other)} is the same model; name another` });
      } else if (!aliases.has(other) && exists(other) === false) {
        problems.push(nothingServes(path, other));
      }
    });
  }
  if (problems.length > 0) return { kind: 'bad', problems };

  return {
    kind: 'ok',
    aliases: {
      modelOf,
      choose(asked, tries) {
        const model = modelOf(asked);
        const first = tries(model, asked);
        if (first.kind === 'denied') return first;
        if (first.kind === 'ok') return { kind: 'serve', model };
        for (const name of fallbacks.get(model) ?? []) {
          const other = modelOf(name);
          if (tries(other, name).kind === 'ok') return { kind: 'serve', model: other };
        }
        return { kind: 'hindered', model, by: first.by };
      },
      names: () => [...models.keys()],
    },
  };
}
