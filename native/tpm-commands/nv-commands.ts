/** The commands that define, move and certify NV indices (TCG "TPM 2.0 Library Specification" Part 3, section 31). */

import { bigEndian, sized, sizedBytes, structure } from '../../attestation/core/layout.ts';
import { Algorithm, attestSized, dataSized, digestSized, signature } from '../../attestation/tpm/layout.ts';
import { nvPublicArea } from '../../attestation/tpm/nv-index.ts';
import { declare } from './commands.ts';

const { u16 } = bigEndian;

/** TPM2B_MAX_NV_BUFFER: every TPM takes at least so much at once (Part 2, MAX_NV_BUFFER_SIZE). */
const LARGEST_WRITE_BYTES = 512;

const nothing = structure({});
const nvDataSized = sizedBytes(u16({ max: LARGEST_WRITE_BYTES }));

/** Handles: the hierarchy. */
export const nvDefineSpace = declare({
  name: 'TPM2_NV_DefineSpace',
  code: 0x12a,
  authorizations: 1,
  parameters: structure({ auth: digestSized, publicArea: sized(u16({ max: 128 }), nvPublicArea) }),
  response: nothing,
});

/** Handles: who authorizes, the index. */
export const nvWrite = declare({
  name: 'TPM2_NV_Write',
  code: 0x137,
  authorizations: 1,
  parameters: structure({ data: nvDataSized, offset: u16() }),
  response: nothing,
});

/** Handles: who authorizes, the index. */
export const nvExtend = declare({
  name: 'TPM2_NV_Extend',
  code: 0x136,
  authorizations: 1,
  parameters: structure({ data: nvDataSized }),
  response: nothing,
});

/** Handles: the signing key, who authorizes, the index. */
export const nvCertify = declare({
  name: 'TPM2_NV_Certify',
  code: 0x184,
  authorizations: 2,
  parameters: structure({
    qualifyingData: dataSized,
    scheme: u16({ oneOf: [Algorithm.null] }),
    size: u16(),
    offset: u16(),
  }),
  response: structure({ attest: attestSized, signature }),
});
