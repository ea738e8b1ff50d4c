/** What the page may do, each after a question. */
import { useState } from 'preact/hooks';
import { Modal } from './modal.tsx';
import { Name } from './parts.tsx';

export type Action =
  | { readonly kind: 'drain'; readonly endpoint: string; readonly undo: boolean }
  | { readonly kind: 'disable'; readonly tenant: string };

const refused = async (response: Response): Promise<string> => {
  const text = await response.text();
  return `It was not done (${response.status}): ${text.slice(0, 300)}`;
};

/** @returns what was answered, in words. */
async function act(action: Action, token: string): Promise<string> {
  const answer =
    action.kind === 'drain'
      ? await fetch(
          `/drain?endpoint=${encodeURIComponent(action.endpoint)}${action.undo ? '&undo=on' : ''}`,
          { method: 'POST', headers: { 'x-fairlane-command': 'console' } },
        )
      : await fetch(`/console/admin/v1/tenants/${encodeURIComponent(action.tenant)}`, {
          method: 'DELETE',
          headers: { authorization: `Bearer ${token}` },
        });
  return answer.ok ? 'Done.' : refused(answer);
}

/** Asks, does it, and says what came of it. The token lives in the page's memory and nowhere else. */
export function Confirm({
  action,
  token,
  onToken,
  onClose,
}: {
  readonly action: Action;
  readonly token: string;
  readonly onToken: (token: string) => void;
  readonly onClose: () => void;
}) {
  const [said, setSaid] = useState('');
  const isDrain = action.kind === 'drain';
  const verb = !isDrain ? 'Disable' : action.undo ? 'Undrain' : 'Drain';
  const what = isDrain
    ? action.undo
      ? 'It gets new requests again.'
      : 'It gets no new requests; what there is ends.'
    : 'Its keys open nothing until somebody enables it.';
  const doIt = () => void act(action, token).then(setSaid, () => setSaid('The service did not answer.'));
  return (
    <Modal title={`${verb}?`} onClose={onClose}>
      <p>
        {verb} <Name of={isDrain ? action.endpoint : action.tenant} />. {what}
      </p>
      {!isDrain && (
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
      )}
      <p>
        <button type="button" disabled={!isDrain && token === ''} onClick={doIt}>
          {verb}
        </button>
      </p>
      <p role="status">{said}</p>
    </Modal>
  );
}
