/** Events in the order of their time; at the same time, in the order in which they were made. */
export interface EventQueue {
  at(timeMs: number, run: (nowMs: number) => void): void;
  /** Until none is left. */
  run(): void;
}

interface Event {
  readonly timeMs: number;
  readonly order: number;
  readonly run: (nowMs: number) => void;
}

const isBefore = (a: Event, b: Event): boolean =>
  a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.order < b.order);

export function createEventQueue(): EventQueue {
  /** A binary heap. */
  const heap: Event[] = [];
  let order = 0;

  const pop = (): Event | undefined => {
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || first === last) return first;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      const left = heap[below];
      const right = heap[below + 1];
      if (left === undefined) break;
      if (right !== undefined && isBefore(right, left)) below += 1;
      const child = heap[below];
      if (child === undefined || !isBefore(child, last)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = last;
    return first;
  };

  return {
    at(timeMs, run) {
      const event: Event = { timeMs, order, run };
      order += 1;
      let at = heap.length;
      heap.push(event);
      while (at > 0) {
        const above = (at - 1) >>> 1;
        const parent = heap[above];
        if (parent === undefined || !isBefore(event, parent)) break;
        heap[at] = parent;
        at = above;
      }
      heap[at] = event;
    },
    run() {
      for (let event = pop(); event !== undefined; event = pop()) event.run(event.timeMs);
    },
  };
}
