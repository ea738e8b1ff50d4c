/** Small pieces that every view uses. */
import { type ComponentChildren, Fragment } from 'preact';
import { useState } from 'preact/hooks';
import { shortName } from './numbers.ts';

/** Somebody else's text: never markup, cut, and unable to turn the line around. */
export const Name = ({ of }: { readonly of: string | undefined }) => (
  <bdi class="name" title={of === undefined ? '' : shortName(of, 200)}>
    {of === undefined ? '–' : shortName(of)}
  </bdi>
);

/** A part of a whole. @param of 0 where nothing is. */
export function Bar({
  part,
  of,
  label,
}: {
  readonly part: number;
  readonly of: number;
  readonly label: string;
}) {
  const percent = of > 0 ? Math.min(100, (100 * part) / of) : 0;
  return (
    <div class="bar" role="img" aria-label={label}>
      <i style={{ width: `${percent}%` }} />
    </div>
  );
}

const STEP = 30;

/** Rows of a table, and a button for more of them. */
export function Rows<Row>({
  rows,
  keyOf,
  columns,
  row,
}: {
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
  readonly columns: number;
  readonly row: (row: Row) => ComponentChildren;
}) {
  const [most, setMost] = useState(STEP);
  return (
    <tbody>
      {rows.slice(0, most).map((one) => (
        <Fragment key={keyOf(one)}>{row(one)}</Fragment>
      ))}
      {rows.length > most && (
        <tr>
          <td colSpan={columns}>
            <button type="button" class="row" onClick={() => setMost(most + STEP)}>
              {rows.length - most} more
            </button>
          </td>
        </tr>
      )}
    </tbody>
  );
}
