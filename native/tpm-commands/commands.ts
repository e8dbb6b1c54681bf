/**
 * The commands that the agent uses, as tables (TCG "TPM 2.0 Library Specification" Part 3). Structures that are part
 * of evidence are those of the verifier; the others stand here.
 */

import {
  bigEndian,
  counted,
  dependent,
  fixedBytes,
  type Layout,
  refuseTag,
  sized,
  sizedBytes,
  structure,
  type ValueOf,
  variants,
} from '../../attestation/core/layout.ts';
import {
  Algorithm,
  attestSized,
  clockInfo,
  dataSized,
  digestSized,
  encryptedSecretSized,
  nameSized,
  pcrSelectionList,
  publicAreaSized,
  signature,
} from '../../attestation/tpm/layout.ts';
import type { Command } from './frames.ts';

const { u8, u16, u32, u64 } = bigEndian;

/** TPM_RH: permanent handles (Part 2, section 7.4). */
export const Handle = { owner: 0x40000001, null: 0x40000007, endorsement: 0x4000000b } as const;

/** First handles of the ranges in which TPM2_GetCapability lists (Part 2, section 7.2). */
export const HandleRange = { nv: 0x01000000, transient: 0x80000000, persistent: 0x81000000 } as const;

/** TPM_CAP (Part 2, section 6.12). */
export const Capability = { handles: 1, pcrs: 5, tpmProperties: 6 } as const;

/** TPM_PT (Part 2, section 6.13): the properties that the agent reads. */
export const Property = { family: 0x100, manufacturer: 0x105, largestNvRead: 0x12c } as const;

/** TPMA_NV (Part 2, section 13.4): who may read an index. */
export const NvAttribute = { ownerRead: 1 << 17, authRead: 1 << 18, written: 1 << 29 } as const;

/** TPM_SE (Part 2, section 6.11). */
export const SessionType = { hmac: 0x00, policy: 0x01 } as const;

const nothing = structure({});

/** TPMT_HA_LIST entry: a digest whose length follows from its algorithm. */
const DIGEST_BYTES = new Map<unknown, number>([
  [Algorithm.sha1, 20],
  [Algorithm.sha256, 32],
  [Algorithm.sha384, 48],
  [Algorithm.sha512, 64],
]);
const taggedDigest = structure({
  hash: u16(),
  digest: dependent<Uint8Array>(({ hash }, path) => {
    const length = DIGEST_BYTES.get(hash);
    return length === undefined
      ? refuseTag(path, [...DIGEST_BYTES.keys()] as number[], hash)
      : fixedBytes(length);
  }),
});

/** TPMS_CAPABILITY_DATA. The lists are bounded by what fits into the largest response. */
const capabilityData = variants('capability', u32(), {
  [Capability.handles]: { handles: counted(u32({ max: 254 }), u32()) },
  [Capability.pcrs]: { banks: pcrSelectionList },
  [Capability.tpmProperties]: {
    properties: counted(u32({ max: 127 }), structure({ property: u32(), value: u32() })),
  },
});

/** TPM2B_NV_PUBLIC. */
const nvPublicSized = sized(
  u16({ max: 128 }),
  structure({
    index: u32(),
    nameAlgorithm: u16(),
    attributes: u32(),
    authPolicy: digestSized,
    dataBytes: u16(),
  }),
);
export type NvPublic = ValueOf<typeof nvPublicSized>;

/** TPMT_TK_*: proofs that only the TPM reads again; the agent passes none on. */
const ticket = structure({ tag: u16(), hierarchy: u32(), digest: digestSized });

const LARGEST_BUFFER_BYTES = 2048;
const bufferSized: Layout<Uint8Array> = sizedBytes(u16({ max: LARGEST_BUFFER_BYTES }));

/** A command, where nothing else is said without authorizations, without a handle in its response, and nothing secret. */
export function declare<P, R>(
  declaration: Pick<Command<P, R>, 'name' | 'code' | 'parameters' | 'response'> & Partial<Command<P, R>>,
): Command<P, R> {
  return { authorizations: 0, returnsHandle: false, secret: 'nothing', takesSessions: true, ...declaration };
}

export const startup = declare({
  name: 'TPM2_Startup',
  code: 0x144,
  takesSessions: false,
  parameters: structure({ type: u16() }),
  response: nothing,
});

export const shutdown = declare({
  name: 'TPM2_Shutdown',
  code: 0x145,
  parameters: structure({ type: u16() }),
  response: nothing,
});

export const getCapability = declare({
  name: 'TPM2_GetCapability',
  code: 0x17a,
  parameters: structure({ capability: u32(), property: u32(), count: u32() }),
  response: structure({ moreData: u8({ oneOf: [0, 1] }), data: capabilityData }),
});

export const getRandom = declare({
  name: 'TPM2_GetRandom',
  code: 0x17b,
  secret: 'response',
  parameters: structure({ bytes: u16() }),
  response: structure({ random: digestSized }),
});

/** Handles: the index. */
export const nvReadPublic = declare({
  name: 'TPM2_NV_ReadPublic',
  code: 0x169,
  parameters: nothing,
  response: structure({ publicArea: nvPublicSized, name: nameSized }),
});

/** Handles: who authorizes, the index. */
export const nvRead = declare({
  name: 'TPM2_NV_Read',
  code: 0x14e,
  secret: 'response',
  authorizations: 1,
  parameters: structure({ size: u16(), offset: u16() }),
  response: structure({ data: bufferSized }),
});

/** Handles: the hierarchy. */
export const createPrimary = declare({
  name: 'TPM2_CreatePrimary',
  code: 0x131,
  secret: 'parameter',
  authorizations: 1,
  parameters: structure({
    sensitive: sized(u16(), structure({ userAuth: digestSized, data: digestSized })),
    template: publicAreaSized,
    outsideInfo: dataSized,
    creationPcrs: pcrSelectionList,
  }),
  returnsHandle: true,
  response: structure({
    publicArea: publicAreaSized,
    creationData: bufferSized,
    creationHash: digestSized,
    creationTicket: ticket,
    name: nameSized,
  }),
});

/** Handles: the object. */
export const readPublic = declare({
  name: 'TPM2_ReadPublic',
  code: 0x173,
  parameters: nothing,
  response: structure({ publicArea: publicAreaSized, name: nameSized, qualifiedName: nameSized }),
});

/** TPMT_SYM_DEF of a session: how it encrypts parameters, or that it does not. */
const sessionCipher = variants('algorithm', u16(), {
  [Algorithm.null]: {},
  [Algorithm.aes]: { keyBits: u16({ oneOf: [128] }), mode: u16({ oneOf: [Algorithm.cfb] }) },
});

/** Handles: the key that decrypts the salt and the entity to bind to; the null handle twice for a plain policy session. */
export const startAuthSession = declare({
  name: 'TPM2_StartAuthSession',
  code: 0x176,
  takesSessions: false,
  parameters: structure({
    nonceCaller: digestSized,
    encryptedSalt: encryptedSecretSized,
    type: u8({ oneOf: Object.values(SessionType) }),
    symmetric: sessionCipher,
    hash: u16(),
  }),
  returnsHandle: true,
  response: structure({ nonceTpm: digestSized }),
});

/** Handles: whose secret, the policy session. */
export const policySecret = declare({
  name: 'TPM2_PolicySecret',
  code: 0x151,
  authorizations: 1,
  parameters: structure({
    nonceTpm: digestSized,
    parameterHash: digestSized,
    policyReference: digestSized,
    expirationSeconds: u32(),
  }),
  response: structure({ timeout: digestSized, ticket }),
});

/** Handles: the object that the credential is for, the key that decrypts it. */
export const activateCredential = declare({
  name: 'TPM2_ActivateCredential',
  code: 0x147,
  secret: 'both',
  authorizations: 2,
  parameters: structure({ credentialBlob: sizedBytes(u16({ max: 132 })), secret: encryptedSecretSized }),
  response: structure({ credential: digestSized }),
});

export const pcrRead = declare({
  name: 'TPM2_PCR_Read',
  code: 0x17e,
  parameters: structure({ selection: pcrSelectionList }),
  response: structure({
    updateCounter: u32(),
    selection: pcrSelectionList,
    values: counted(u32({ max: 8 }), digestSized),
  }),
});

/** Handles: the PCR. */
export const pcrExtend = declare({
  name: 'TPM2_PCR_Extend',
  code: 0x182,
  authorizations: 1,
  parameters: structure({ digests: counted(u32({ max: 16 }), taggedDigest) }),
  response: nothing,
});

/** Handles: the signing key. The null scheme stands for the one that the key itself names. */
export const quote = declare({
  name: 'TPM2_Quote',
  code: 0x158,
  authorizations: 1,
  parameters: structure({
    qualifyingData: dataSized,
    scheme: u16({ oneOf: [Algorithm.null] }),
    selection: pcrSelectionList,
  }),
  response: structure({ attest: attestSized, signature }),
});

/** The handle is a parameter here, so that sessions can be named too. */
export const flushContext = declare({
  name: 'TPM2_FlushContext',
  code: 0x165,
  takesSessions: false,
  parameters: structure({ handle: u32() }),
  response: nothing,
});

export const readClock = declare({
  name: 'TPM2_ReadClock',
  code: 0x181,
  parameters: nothing,
  response: structure({ timeMilliseconds: u64(), clockInfo }),
});
