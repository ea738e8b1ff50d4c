/** PostgreSQL's placeholders have numbers. */

/** Texts, quoted names, comments and placeholders, whichever comes first. */
const PIECES = /'[^']*'|"[^"]*"|--[^\n]*|\?/g;

const known = new Map<string, string>();
const MOST_KNOWN = 200;

/** `?` becomes `$1`, `$2`, …, but for those within quotes and comments. */
export function numbered(sql: string): string {
  const before = known.get(sql);
  if (before !== undefined) return before;
  let count = 0;
  const after = sql.replaceAll(PIECES, (piece) => {
    if (piece !== '?') return piece;
    count += 1;
    return `$${count}`;
  });
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(sql, after);
  return after;
}
