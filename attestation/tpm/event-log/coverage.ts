/**
 * What of an event's data its digest covers. Replay proves the digests; the data beside them is worth something only as far
 * as a digest can be computed from it. What is not covered is untrusted: it is shown, and never decides.
 */

import { equalBytes } from '../../core/bytes.ts';
import { RefusalError } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import { EventType } from './event-types.ts';
import type { LoggedEvent } from './read.ts';
import { readUefiVariable } from './uefi-variable.ts';

/**
 * `event`: all of the data; `variable`: the value of the UEFI variable, and neither its name nor its vendor; `text`: what
 * a boot loader wrote behind the name of the register; `nothing`: the digest is that of something else, an image or a file.
 */
export type Coverage =
  | { readonly covers: 'event' | 'variable' | 'text'; readonly bytes: Uint8Array }
  | { readonly covers: 'nothing' };

/** @param bank the bank that was replayed */
export function coverageOf({ type, digests, data }: LoggedEvent, bank: TpmHash): Coverage {
  const digest = digests.get(bank.algorithm);
  if (digest === undefined) return { covers: 'nothing' };
  const isDigestOf = (bytes: Uint8Array): boolean => equalBytes(bank.digest(bytes), digest);
  if (isDigestOf(data)) return { covers: 'event', bytes: data };
  return coverableParts(type, data).find(({ bytes }) => isDigestOf(bytes)) ?? { covers: 'nothing' };
}

type Part = Exclude<Coverage, { readonly covers: 'nothing' }>;

function coverableParts(type: number, data: Uint8Array): readonly Part[] {
  if (type === EventType.efiVariableBoot) return variableParts(data);
  if (type === EventType.ipl) return textParts(data);
  return [];
}

/** Firmware of the older profile measures the value of a boot variable alone. */
function variableParts(data: Uint8Array): readonly Part[] {
  try {
    return [{ covers: 'variable', bytes: readUefiVariable(data, 'event').data }];
  } catch (error) {
    if (error instanceof RefusalError) return [];
    throw error;
  }
}

const COLON = 0x3a;
const SPACE = 0x20;

/**
 * GRUB measures `kernel_cmdline: TEXT` and the like as TEXT without the zero byte behind it; that of Red Hat writes
 * `grub_cmd TEXT` and measures TEXT with it.
 */
function textParts(data: Uint8Array): readonly Part[] {
  const space = data.indexOf(SPACE);
  if (space <= 0) return [];
  const text = data.subarray(space + 1);
  if (data[space - 1] !== COLON) return [{ covers: 'text', bytes: text }];
  return [{ covers: 'text', bytes: text.at(-1) === 0 ? text.subarray(0, -1) : text }];
}
