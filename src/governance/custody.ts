/** What the log says of the custody of wrapping keys (docs/spec/governance.md section 8). */

import type { CustodyEntry } from './entries.ts';
import { governanceRefusals } from './refusals.ts';
import type { CustodyState, GovernanceState, OpenCustodyState } from './state.ts';

export const NO_CUSTODY: CustodyState = { events: 0, open: new Map(), lastNumber: 0 };

/** The custody after an event. @throws RefusalError `governance-custody` */
export function applyCustody({ mode, custody }: GovernanceState, entry: CustodyEntry): CustodyState {
  if (entry.sequence !== custody.events) {
    refuse('sequence', `${custody.events} (GV-71)`, String(entry.sequence));
  }
  if (mode === 'production' && entry.provider === 'file') {
    refuse('provider', 'custody outside of files in mode production (GV-72)', entry.provider);
  }
  const events = custody.events + 1;
  const open = new Map(custody.open);
  if (entry.event === 'opened') {
    if (entry.custody <= custody.lastNumber) {
      refuse('custody', `a number above ${custody.lastNumber} (GV-73)`, String(entry.custody));
    }
    const { provider, wrappingKeys } = entry;
    open.set(entry.custody, { provider, wrappingKeys: requireOne(wrappingKeys) });
    return { events, open, lastNumber: entry.custody };
  }
  const before = open.get(entry.custody);
  if (before?.provider !== entry.provider) {
    refuse('custody', 'a custody that is open (GV-73)', `${entry.provider} ${entry.custody}`);
  }
  if (entry.event === 'ended') open.delete(entry.custody);
  else open.set(entry.custody, { provider: before.provider, wrappingKeys: changedKeys(before, entry) });
  return { ...custody, events, open };
}

/** GV-74. */
function changedKeys({ wrappingKeys }: OpenCustodyState, entry: CustodyEntry): readonly string[] {
  if (entry.event === 'rotated') return [...wrappingKeys, ...requireOne(entry.wrappingKeys)];
  const current = wrappingKeys.at(-1);
  for (const id of entry.wrappingKeys) {
    if (id === current || !wrappingKeys.includes(id)) {
      refuse('wrappingKeys', 'wrapping keys that are held and not current (GV-74)', id);
    }
  }
  return wrappingKeys.filter((id) => !entry.wrappingKeys.includes(id));
}

function requireOne(wrappingKeys: readonly string[]): readonly string[] {
  if (wrappingKeys.length !== 1) {
    refuse('wrappingKeys', 'the current wrapping key (GV-74)', `${wrappingKeys.length} of them`);
  }
  return wrappingKeys;
}

function refuse(member: string, expected: string, found: string): never {
  throw governanceRefusals.error('governance-custody', { field: `custody.${member}`, expected, found });
}
