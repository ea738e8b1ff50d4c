/** What a page of metrics says, of Fairlane or of an engine. */

export type Labels = Readonly<Record<string, string>>;

/** The sum of a metric's series whose labels contain all of these; 0 where there are none. */
export function sumIn(page: string, name: string, labels: Labels = {}): number {
  const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return page
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((pair) => line.includes(pair)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** @param url of a server, without `/metrics`. */
export const scraped = async (url: string): Promise<string> => (await fetch(`${url}/metrics`)).text();
