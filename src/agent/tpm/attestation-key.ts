/** Makes the attestation key, or takes one over that an agent which was killed left loaded. */

import { equalBytes } from '../../../attestation/core/bytes.ts';
import { encode } from '../../../attestation/core/layout.ts';
import { RefusalError } from '../../../attestation/core/refusal.ts';
import { type PublicArea, publicArea } from '../../../attestation/tpm/layout.ts';
import { computeName, computeQualifiedName, hierarchyName } from '../../../attestation/tpm/name.ts';
import { Handle, HandleRange } from '../../../native/tpm-commands/commands.ts';
import type { LoadedKey, Tpm } from '../../../native/tpm-commands/tpm.ts';

/** A loaded attestation key. One that was taken over is not unloaded: another agent may be using it. */
export interface AttestationKey extends LoadedKey {
  readonly isOwn: boolean;
}

const MAX_LISTED = 254;

/**
 * A TPM without a resource manager has about three places for keys, and a key that a killed agent leaves there stays
 * until the reset. As the same template always gives the same key, such a key serves as well as a new one.
 *
 * @throws RefusalError `tpm-slots-full` when there is neither a place nor such a key; `tpm-response`
 */
export async function loadAttestationKey(tpm: Tpm, template: PublicArea): Promise<AttestationKey> {
  try {
    return { ...(await tpm.createPrimary(Handle.endorsement, template)), isOwn: true };
  } catch (error) {
    if (!(error instanceof RefusalError) || error.refusal.code !== 'tpm-slots-full') throw error;
    const left = await findLeftKey(tpm, template);
    if (left === undefined) throw error;
    return { ...left, isOwn: false };
  }
}

async function findLeftKey(tpm: Tpm, template: PublicArea): Promise<LoadedKey | undefined> {
  for (const handle of await tpm.handles(HandleRange.transient, MAX_LISTED)) {
    const { qualifiedName, ...key } = await tpm.readPublic(handle);
    const asPrimary = computeQualifiedName(hierarchyName(Handle.endorsement), computeName(key.publicArea));
    if (isMadeFrom(key.publicArea, template) && equalBytes(qualifiedName, asPrimary)) return key;
  }
  return undefined;
}

/** Whether a public area differs from the template in the public value alone. */
function isMadeFrom(area: PublicArea, template: PublicArea): boolean {
  if (area.type !== template.type) return false;
  const withoutValue = { ...area, unique: template.unique } as PublicArea;
  return equalBytes(encode(publicArea, withoutValue, 'key'), encode(publicArea, template, 'template'));
}
