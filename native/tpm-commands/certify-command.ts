/** The command by which one loaded key certifies another (TCG "TPM 2.0 Library Specification" Part 3, section 18.2). */

import { bigEndian, structure } from '../../attestation/core/layout.ts';
import { Algorithm, attestSized, dataSized, signature } from '../../attestation/tpm/layout.ts';
import type { Signature } from '../../attestation/tpm/layout.ts';
import { declare } from './commands.ts';
import type { Tpm } from './tpm.ts';

/** Handles: the object, the signing key. The null scheme stands for the one that the key itself names. */
const certify = declare({
  name: 'TPM2_Certify',
  code: 0x148,
  authorizations: 2,
  parameters: structure({ qualifyingData: dataSized, scheme: bigEndian.u16({ oneOf: [Algorithm.null] }) }),
  response: structure({ attest: attestSized, signature }),
});

/**
 * Has a loaded key say of another loaded object that it is there.
 *
 * @param qualifyingData at most one digest of the TPM's largest hash
 * @returns TPMS_ATTEST as signed, and the signature
 * @throws RefusalError `tpm-response`
 */
export async function certifyObject(
  tpm: Tpm,
  object: number,
  key: number,
  qualifyingData: Uint8Array,
): Promise<{ readonly attest: Uint8Array; readonly signature: Signature }> {
  const { parameters } = await tpm.run(certify, {
    handles: [object, key],
    parameters: { qualifyingData, scheme: Algorithm.null },
  });
  return parameters;
}
