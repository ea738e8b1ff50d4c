/** The page as a whole. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { RequestLine } from '../admin/console-feed.ts';
import { type Action, Confirm, Disabled } from './actions.tsx';
import { Cards } from './cards.tsx';
import { Chart } from './chart.tsx';
import { Colours } from './colours.ts';
import { contestants } from './contrast.ts';
import { Feed, type Known, type Link } from './feed.ts';
import { Modal } from './modal.tsx';
import { durationText } from './numbers.ts';
import { Name } from './parts.tsx';
import { Engines, Queue } from './pools.tsx';
import { Requests, Timeline } from './requests.tsx';
import { Tenants, Usage } from './tenants.tsx';
import { headline } from './words.ts';

const LINKS: Record<Link, string> = {
  connecting: 'connecting…',
  live: 'live',
  polling: 'live, asked every 2 s: all streams are taken',
  away: 'the service is away: reconnecting…',
  refused: 'refused',
};

const KEYS = [
  ['?', 'these keys'],
  ['/', 'to the filter'],
  ['p', 'pause, and go on'],
  ['t', 'light or dark'],
  ['Tab, Enter', 'to a request, and open it'],
  ['Esc', 'close what is open'],
] as const;

type Theme = 'light' | 'dark';

function useTheme(): readonly [Theme, () => void] {
  const dark = useMemo(() => matchMedia('(prefers-color-scheme: dark)'), []);
  const [theme, setTheme] = useState<Theme>(dark.matches ? 'dark' : 'light');
  useEffect(() => {
    const follow = () => setTheme(dark.matches ? 'dark' : 'light');
    dark.addEventListener('change', follow);
    return () => dark.removeEventListener('change', follow);
  }, [dark]);
  // Before the chart reads its ink.
  document.documentElement.dataset['theme'] = theme;
  return [theme, () => setTheme(theme === 'dark' ? 'light' : 'dark')];
}

/** What is known now; while it is paused, what was known then. */
function useKnown(paused: boolean): Known {
  const [known, setKnown] = useState<Known>({ link: 'connecting', requests: [] });
  const [held, setHeld] = useState<Known | undefined>(undefined);
  useEffect(() => {
    const feed = new Feed(setKnown);
    return () => feed.close();
  }, []);
  useEffect(() => setHeld(paused ? known : undefined), [paused]);
  return paused && held !== undefined ? { ...held, link: known.link } : known;
}

function useKeys(keys: Readonly<Record<string, () => void>>): void {
  const now = useRef(keys);
  now.current = keys;
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const writes =
        event.target instanceof Element && event.target.closest('input, select, dialog') !== null;
      if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
      const does = now.current[event.key];
      if (does === undefined) return;
      event.preventDefault();
      does();
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);
}

/** @param api where clients send to, where the service has said it. */
const Empty = ({ api }: { readonly api: string | undefined }) => (
  <div class="empty">
    <p>
      No request has ended yet. The demo has printed a line that sends quiet against noisy for a minute: paste
      it into another terminal.
    </p>
    {api !== undefined && (
      <>
        <p>Or send one request, with a key and a model of your own:</p>
        <pre>
          {`curl ${api}/v1/chat/completions -H "authorization: Bearer $KEY" \\\n  -H "content-type: application/json" \\\n  -d '{"model": "MODEL", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'`}
        </pre>
      </>
    )}
  </div>
);

function Picture({
  known,
  lines,
  colours,
  theme,
}: {
  readonly known: Known;
  readonly lines: readonly RequestLine[];
  readonly colours: Colours;
  readonly theme: Theme;
}) {
  const waits = new Map(known.status?.tenants.rows.map(({ name, ttftP50Ms }) => [name, ttftP50Ms]));
  const tenants = [
    ...new Set(lines.filter(({ ttftMs }) => ttftMs !== undefined).map(({ tenant }) => tenant)),
  ].sort((a, b) => (waits.get(a) ?? 0) - (waits.get(b) ?? 0));
  return (
    <section class="wide" aria-label="Time to first token">
      <h2>
        Time to first token <small>a dot is a stream; each line is about three times the one below</small>
      </h2>
      <ul class="legend">
        {tenants.slice(0, 6).map((tenant) => (
          <li key={tenant}>
            <span class="dot" style={{ background: colours.of(tenant) }} />
            <Name of={tenant} /> {durationText(waits.get(tenant))}
          </li>
        ))}
        {tenants.length > 6 && <li>{tenants.length - 6} more</li>}
      </ul>
      {known.requests.length === 0 ? (
        <Empty api={known.about?.api} />
      ) : lines.length === 0 ? (
        <p class="empty">None of the last requests is of such a tenant in this pool.</p>
      ) : (
        <Chart
          lines={lines}
          colours={colours}
          nowMs={Date.parse(known.status?.at ?? '') || Date.now()}
          theme={theme}
        />
      )}
    </section>
  );
}

interface View {
  readonly theme: Theme;
  readonly turnTheme: () => void;
  readonly paused: boolean;
  readonly setPaused: (paused: boolean) => void;
  readonly tenant: string;
  readonly setTenant: (tenant: string) => void;
  readonly pool: string;
  readonly setPool: (pool: string) => void;
  readonly help: boolean;
  readonly setHelp: (help: boolean) => void;
  readonly filter: { current: HTMLInputElement | null };
}

function useView(): View {
  const [theme, turnTheme] = useTheme();
  const [paused, setPaused] = useState(false);
  const [tenant, setTenant] = useState('');
  const [pool, setPool] = useState('');
  const [help, setHelp] = useState(false);
  const filter = useRef<HTMLInputElement>(null);
  useKeys({
    '?': () => setHelp(true),
    '/': () => filter.current?.focus(),
    p: () => setPaused(!paused),
    t: turnTheme,
  });
  return { theme, turnTheme, paused, setPaused, tenant, setTenant, pool, setPool, help, setHelp, filter };
}

const Headline = ({ known: { status, refusal } }: { readonly known: Known }) => (
  <>
    {refusal !== undefined && <p class="warn">The service does not answer this page: {refusal}.</p>}
    <p class="headline">
      {status === undefined
        ? 'Waiting for the service.'
        : headline(status).map((piece, i) =>
            piece.name === true ? (
              <b key={i}>
                <Name of={piece.text} />
              </b>
            ) : (
              piece.text
            ),
          )}
    </p>
    {status !== undefined && status.reasons.length > 0 && (
      <p class="warn">
        {status.status}: {status.reasons.slice(0, 5).join('; ')}
      </p>
    )}
  </>
);

const Top = ({ view, known }: { readonly view: View; readonly known: Known }) => (
  <header>
    <h1>Fairlane</h1>
    <span class="link" role="status" data-link={known.link}>
      {view.paused ? 'paused' : LINKS[known.link]}
    </span>
    <span class="space" />
    <input
      ref={view.filter}
      aria-label="Tenants whose name has"
      placeholder="tenant"
      size={12}
      value={view.tenant}
      onInput={(event) => view.setTenant(event.currentTarget.value)}
    />
    <select aria-label="Pool" value={view.pool} onChange={(event) => view.setPool(event.currentTarget.value)}>
      <option value="">all pools</option>
      {known.status?.pools.slice(0, 200).map(({ name }) => (
        <option key={name} value={name}>
          {name.slice(0, 40)}
        </option>
      ))}
    </select>
    <button type="button" aria-pressed={view.paused} onClick={() => view.setPaused(!view.paused)}>
      {view.paused ? 'go on' : 'pause'}
    </button>
    <button type="button" onClick={view.turnTheme}>
      {view.theme === 'dark' ? 'light' : 'dark'}
    </button>
    <button type="button" aria-label="Keys" onClick={() => view.setHelp(true)}>
      ?
    </button>
  </header>
);

export function Console() {
  const view = useView();
  const { theme, paused, tenant, pool, help, setHelp } = view;
  const [opened, setOpened] = useState<RequestLine | undefined>(undefined);
  const [action, setAction] = useState<Action | undefined>(undefined);
  const [listsDisabled, setListsDisabled] = useState(false);
  const [token, setToken] = useState('');
  const colours = useMemo(() => new Colours(), []);
  const known = useKnown(paused);
  const { status, usage, about } = known;
  colours.learn([
    ...new Set([
      ...known.requests.map((line) => line.tenant),
      ...(status?.tenants.rows ?? []).map((row) => row.name),
    ]),
  ]);
  const ofTenant = (name: string): boolean => tenant === '' || name.includes(tenant);
  const ofPool = (name: string | undefined): boolean => pool === '' || name === pool;
  const lines = known.requests.filter((line) => ofTenant(line.tenant) && ofPool(line.pool));
  return (
    <>
      <Top view={view} known={known} />
      <main>
        <Headline known={known} />
        {status !== undefined && (
          <Cards
            status={status}
            against={contestants(status, known.requests, Date.parse(status.at))}
            colours={colours}
          />
        )}
        <div class="grid">
          <Picture known={known} lines={lines} colours={colours} theme={theme} />
          {status !== undefined && (
            <>
              <Engines
                pools={status.pools.filter(({ name }) => ofPool(name))}
                onDrain={
                  about?.actions === true
                    ? ({ name, draining }) => setAction({ kind: 'drain', endpoint: name, undo: draining })
                    : undefined
                }
              />
              <Tenants
                rows={status.tenants.rows.filter(({ name }) => ofTenant(name))}
                more={status.tenants.rest.tenants}
                colours={colours}
                onDisable={
                  about?.admin === true ? (name) => setAction({ kind: 'disable', tenant: name }) : undefined
                }
                onEnable={() => setListsDisabled(true)}
              />
              <Queue
                rows={status.queue.rows.filter((row) => ofTenant(row.tenant) && ofPool(row.pool))}
                waiting={status.totals.waiting}
              />
            </>
          )}
          {usage !== undefined && (
            <Usage usage={usage} rows={usage.rows.filter((row) => ofTenant(row.tenant))} />
          )}
          <Requests lines={lines} onOpen={setOpened} />
        </div>
      </main>
      {opened !== undefined && (
        <Timeline line={opened} mayExplain={about?.actions === true} onClose={() => setOpened(undefined)} />
      )}
      {action !== undefined && (
        <Confirm action={action} token={token} onToken={setToken} onClose={() => setAction(undefined)} />
      )}
      {listsDisabled && <Disabled token={token} onToken={setToken} onClose={() => setListsDisabled(false)} />}
      {help && (
        <Modal title="Keys" onClose={() => setHelp(false)}>
          <dl>{KEYS.flatMap(([key, does]) => [<dt key={key}>{key}</dt>, <dd key={does}>{does}</dd>])}</dl>
        </Modal>
      )}
    </>
  );
}
