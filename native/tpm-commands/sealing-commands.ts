/**
 * The commands of sealed objects and of their policies, as tables (TCG "TPM 2.0 Library Specification" Part 3,
 * sections 12, 20, 23 and 31).
 */

import { bigEndian, type Layout, sized, sizedBytes, structure } from '../../attestation/core/layout.ts';
import {
  dataSized,
  digestSized,
  nameSized,
  pcrSelectionList,
  publicAreaSized,
  signature,
} from '../../attestation/tpm/layout.ts';
import { declare } from './commands.ts';

const { u16, u32 } = bigEndian;

const nothing = structure({});

/** TPM_ST_VERIFIED (Part 2, section 6.9). */
const VERIFIED = 0x8022;

/** TPM2B_PRIVATE: what a parent encrypted. Sealed data makes it about 200 bytes, the largest keys 1500. */
export const privateAreaSized: Layout<Uint8Array> = sizedBytes(u16({ max: 1600 }));

/** TPM2B_SENSITIVE_DATA: as much as a TPM seals (Part 2, MAX_SYM_DATA). */
const sensitiveDataSized: Layout<Uint8Array> = sizedBytes(u16({ max: 128 }));

const creationBufferSized: Layout<Uint8Array> = sizedBytes(u16({ max: 2048 }));

const creationTicket = structure({ tag: u16(), hierarchy: u32(), digest: digestSized });

/** TPMT_TK_VERIFIED: the TPM's note to itself that it has checked a signature. */
const verifiedTicket = structure({ tag: u16({ oneOf: [VERIFIED] }), hierarchy: u32(), digest: digestSized });

/** Handles: the parent. */
export const create = declare({
  name: 'TPM2_Create',
  code: 0x153,
  secret: 'parameter',
  authorizations: 1,
  parameters: structure({
    sensitive: sized(u16(), structure({ userAuth: digestSized, data: sensitiveDataSized })),
    template: publicAreaSized,
    outsideInfo: dataSized,
    creationPcrs: pcrSelectionList,
  }),
  response: structure({
    privateArea: privateAreaSized,
    publicArea: publicAreaSized,
    creationData: creationBufferSized,
    creationHash: digestSized,
    creationTicket,
  }),
});

/** Handles: the parent. */
export const load = declare({
  name: 'TPM2_Load',
  code: 0x157,
  authorizations: 1,
  parameters: structure({ privateArea: privateAreaSized, publicArea: publicAreaSized }),
  returnsHandle: true,
  response: structure({ name: nameSized }),
});

/** Loads a public key alone: the private part stays empty. */
export const loadExternal = declare({
  name: 'TPM2_LoadExternal',
  code: 0x167,
  parameters: structure({
    privateArea: sizedBytes(u16({ max: 0 })),
    publicArea: publicAreaSized,
    hierarchy: u32(),
  }),
  returnsHandle: true,
  response: structure({ name: nameSized }),
});

/** Handles: the key. */
export const verifySignature = declare({
  name: 'TPM2_VerifySignature',
  code: 0x177,
  parameters: structure({ digest: digestSized, signature }),
  response: structure({ ticket: verifiedTicket }),
});

/** Handles: the object. */
export const unseal = declare({
  name: 'TPM2_Unseal',
  code: 0x15e,
  secret: 'response',
  authorizations: 1,
  parameters: nothing,
  response: structure({ data: sensitiveDataSized }),
});

/** Handles: the policy session. An empty digest stands for the values of now. */
export const policyPcr = declare({
  name: 'TPM2_PolicyPCR',
  code: 0x17f,
  parameters: structure({ pcrDigest: digestSized, selection: pcrSelectionList }),
  response: nothing,
});

/** Handles: who authorizes the reading, the index, the policy session. */
export const policyNv = declare({
  name: 'TPM2_PolicyNV',
  code: 0x149,
  authorizations: 1,
  parameters: structure({ operand: digestSized, offset: u16(), operation: u16() }),
  response: nothing,
});

/** Handles: the policy session. */
export const policyAuthorize = declare({
  name: 'TPM2_PolicyAuthorize',
  code: 0x16a,
  parameters: structure({
    approvedPolicy: digestSized,
    reference: digestSized,
    signerName: nameSized,
    ticket: verifiedTicket,
  }),
  response: nothing,
});

/** Handles: the policy session. */
export const policyGetDigest = declare({
  name: 'TPM2_PolicyGetDigest',
  code: 0x189,
  parameters: nothing,
  response: structure({ policyDigest: digestSized }),
});

/** Handles: who authorizes, the index. */
export const nvIncrement = declare({
  name: 'TPM2_NV_Increment',
  code: 0x134,
  authorizations: 1,
  parameters: nothing,
  response: nothing,
});
