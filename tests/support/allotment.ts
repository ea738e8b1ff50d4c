import type { Allotment, AllotmentOwner } from '../../src/limit/allotments.ts';

/** A part of a limit that replicas share, where no other replica says anything. */
export const lonelyAllotment = (
  owner: Pick<AllotmentOwner, 'inUse'>,
  part: Pick<Allotment, 'limit' | 'fair' | 'capacity'> & Partial<Allotment>,
): Allotment => ({
  coming: () => 0,
  others: () => undefined,
  heardMs: () => 0,
  inUse: () => owner.inUse(),
  usageChanged: () => undefined,
  left: () => undefined,
  ...part,
});
