/** What the page may do, each after a question. */
import { useState } from 'preact/hooks';
import { Modal } from './modal.tsx';
import { Name } from './parts.tsx';

export type Action =
  | { readonly kind: 'drain'; readonly endpoint: string; readonly undo: boolean }
  | { readonly kind: 'disable'; readonly tenant: string };

const TENANTS = '/console/admin/v1/tenants';
/** Pages of the list of tenants that are asked for, of a thousand names each. */
const MOST_PAGES = 10;
const NO_ANSWER = 'The service did not answer.';

/** What the admin API says of a refusal; other text is shown as it is. */
async function refused(response: Response): Promise<string> {
  const text = await response.text();
  let said = text;
  try {
    const { error } = JSON.parse(text) as {
      readonly error?: string | { readonly message?: string; readonly hint?: string };
    };
    if (typeof error === 'string') said = error;
    else if (error?.message !== undefined) said = `${error.message}${error.hint ? `; ${error.hint}` : ''}`;
  } catch {
    // It is text.
  }
  return `It was not done (${response.status}): ${said.slice(0, 400)}`;
}

const tenantPath = (tenant: string): string => `${TENANTS}/${encodeURIComponent(tenant)}`;
const authorized = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

const enable = (tenant: string, token: string): Promise<Response> =>
  fetch(tenantPath(tenant), {
    method: 'PATCH',
    headers: { ...authorized(token), 'content-type': 'application/json' },
    body: '{"disabled":false}',
  });

/** @returns what was answered, in words. */
async function act(action: Action, token: string): Promise<string> {
  const answer =
    action.kind === 'drain'
      ? await fetch(
          `/drain?endpoint=${encodeURIComponent(action.endpoint)}${action.undo ? '&undo=on' : ''}`,
          { method: 'POST', headers: { 'x-fairlane-command': 'console' } },
        )
      : await fetch(tenantPath(action.tenant), { method: 'DELETE', headers: authorized(token) });
  return answer.ok ? 'Done.' : refused(answer);
}

interface TokenProps {
  /** It lives in the page's memory and nowhere else. */
  readonly token: string;
  readonly onToken: (token: string) => void;
}

const Token = ({ token, onToken }: TokenProps) => (
  <p>
    <label>
      Token of the admin API{' '}
      <input
        type="password"
        autocomplete="off"
        value={token}
        onInput={(event) => onToken(event.currentTarget.value)}
      />
    </label>
  </p>
);

/** Asks, does it, and says what came of it. */
export function Confirm({
  action,
  token,
  onToken,
  onClose,
}: TokenProps & { readonly action: Action; readonly onClose: () => void }) {
  const [said, setSaid] = useState('');
  const isDrain = action.kind === 'drain';
  const verb = !isDrain ? 'Disable' : action.undo ? 'Undrain' : 'Drain';
  const what = isDrain
    ? action.undo
      ? 'It gets new requests again.'
      : 'It gets no new requests; what there is ends.'
    : 'Its keys open nothing until somebody enables it. A tenant of the configuration’s files is disabled there.';
  const doIt = () => void act(action, token).then(setSaid, () => setSaid(NO_ANSWER));
  return (
    <Modal title={`${verb}?`} onClose={onClose}>
      <p>
        {verb} <Name of={isDrain ? action.endpoint : action.tenant} />. {what}
      </p>
      {!isDrain && <Token token={token} onToken={onToken} />}
      <p>
        <button type="button" disabled={!isDrain && token === ''} onClick={doIt}>
          {verb}
        </button>
      </p>
      <p role="status">{said}</p>
    </Modal>
  );
}

interface TenantPage {
  readonly tenants: readonly { readonly name: string; readonly disabled: boolean }[];
  readonly next?: string;
}

/** @returns names of those that are disabled; or what was answered, in words. */
async function disabledTenants(token: string): Promise<readonly string[] | string> {
  const names: string[] = [];
  let after = '';
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const path = `${TENANTS}?limit=1000${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`;
    const answer = await fetch(path, { headers: authorized(token) });
    if (!answer.ok) return refused(answer);
    const { tenants, next } = (await answer.json()) as TenantPage;
    names.push(...tenants.filter(({ disabled }) => disabled).map(({ name }) => name));
    if (next === undefined) return names;
    after = next;
  }
  return names;
}

/** Tenants that are disabled have no requests, and so no rows: they are asked for, and enabled, here. */
export function Disabled({ token, onToken, onClose }: TokenProps & { readonly onClose: () => void }) {
  const [names, setNames] = useState<readonly string[] | undefined>(undefined);
  const [said, setSaid] = useState('');
  const list = async (): Promise<void> => {
    const found = await disabledTenants(token);
    if (typeof found === 'string') setSaid(found);
    else {
      setNames(found);
      setSaid(found.length === 0 ? 'No tenant is disabled.' : '');
    }
  };
  const enableIt = async (name: string): Promise<void> => {
    const answer = await enable(name, token);
    setSaid(answer.ok ? `${name.slice(0, 64)} is enabled.` : await refused(answer));
    if (answer.ok) setNames(names?.filter((other) => other !== name));
  };
  const failed = () => setSaid(NO_ANSWER);
  return (
    <Modal title="Disabled tenants" onClose={onClose}>
      <Token token={token} onToken={onToken} />
      <p>
        <button type="button" disabled={token === ''} onClick={() => void list().catch(failed)}>
          List them
        </button>
      </p>
      <ul class="plain">
        {names?.slice(0, 200).map((name) => (
          <li key={name}>
            <Name of={name} />{' '}
            <button type="button" onClick={() => void enableIt(name).catch(failed)}>
              enable
            </button>
          </li>
        ))}
      </ul>
      <p role="status">{said}</p>
    </Modal>
  );
}
