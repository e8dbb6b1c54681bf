/** The structures of nvml.h that attestation uses. The library writes them, so all that is read is outside input. */

import { excerpt } from '../../attestation/core/bytes.ts';
import { decode, encode, fixedBytes, littleEndian, structure } from '../../attestation/core/layout.ts';
import { NONCE_BYTES, type ConfidentialComputeState } from './gpu.ts';
import { nvmlContentRefusals } from './refusals.ts';

const { u8, u32, u64 } = littleEndian;

const REPORT_ROOM_BYTES = 0x2000;
const CEC_REPORT_ROOM_BYTES = 0x1000;
/** nvmlConfComputeGpuAttestationReport_t */
const attestationReport = structure({
  isCecReportPresent: u32({ oneOf: [0, 1] }),
  reportBytes: u32({ max: REPORT_ROOM_BYTES }),
  cecReportBytes: u32({ max: CEC_REPORT_ROOM_BYTES }),
  nonce: fixedBytes(NONCE_BYTES),
  report: fixedBytes(REPORT_ROOM_BYTES),
  cecReport: fixedBytes(CEC_REPORT_ROOM_BYTES),
});

/** A request for a report: the structure with the nonce in it, which the library fills (12332 bytes). */
export function attestationReportRequest(nonce: Uint8Array): Uint8Array {
  const request = {
    isCecReportPresent: 0,
    reportBytes: 0,
    cecReportBytes: 0,
    nonce,
    report: new Uint8Array(REPORT_ROOM_BYTES),
    cecReport: new Uint8Array(CEC_REPORT_ROOM_BYTES),
  };
  return encode(attestationReport, request, 'request');
}

/** The report out of a structure that the library filled (NA-4). @throws RefusalError `layout-value`, `nvml-answer` */
export function readAttestationReport(bytes: Uint8Array, path: string): Uint8Array {
  const { report, reportBytes } = decode(attestationReport, bytes, path);
  return filledPart(report, reportBytes, `${path}.report`);
}

const CHAIN_ROOM_BYTES = 0x1000;
const ATTESTATION_CHAIN_ROOM_BYTES = 0x1400;
/** nvmlConfComputeGpuCertificate_t */
const certificates = structure({
  chainBytes: u32({ max: CHAIN_ROOM_BYTES }),
  attestationChainBytes: u32({ max: ATTESTATION_CHAIN_ROOM_BYTES }),
  chain: fixedBytes(CHAIN_ROOM_BYTES),
  attestationChain: fixedBytes(ATTESTATION_CHAIN_ROOM_BYTES),
});
export const CERTIFICATES_BYTES = 9224;

/** The chain of the key that signs reports. @throws RefusalError `layout-value`, `nvml-answer` */
export function readAttestationChain(bytes: Uint8Array, path: string): Uint8Array {
  const { attestationChain, attestationChainBytes } = decode(certificates, bytes, path);
  return filledPart(attestationChain, attestationChainBytes, `${path}.attestationChain`);
}

function filledPart(room: Uint8Array, bytes: number, path: string): Uint8Array {
  if (bytes > 0) return room.slice(0, bytes);
  throw nvmlContentRefusals.error('nvml-answer', { field: path, expected: 'some bytes', found: 'none' });
}

const environment = u32({ oneOf: [0, 1, 2] });
const flag = u32({ oneOf: [0, 1] });
const ENVIRONMENTS = ['unavailable', 'simulation', 'production'] as const;
const MULTI_GPU_MODES = ['none', 'protected-pcie', 'nvlink-encryption'] as const;

/** nvmlConfComputeSystemState_t */
const systemState = structure({ environment, enabled: flag, devTools: flag });
export const SYSTEM_STATE_BYTES = 12;

/** nvmlSystemConfComputeSettings_v1_t */
const SETTINGS_BYTES = 20;
const settings = structure({
  version: u32({ oneOf: [versionOf(1, SETTINGS_BYTES)] }),
  environment,
  enabled: flag,
  devTools: flag,
  multiGpuMode: u32({ oneOf: [0, 1, 2] }),
});

/** What the library fills says in its first member which structure the caller has. */
export function settingsRequest(): Uint8Array {
  const version = versionOf(1, SETTINGS_BYTES);
  const request = { version, environment: 0, enabled: 0, devTools: 0, multiGpuMode: 0 };
  return encode(settings, request, 'request');
}

/**
 * The state of confidential computing, from both calls that tell it (NA-8).
 *
 * @throws RefusalError `layout-value`, `nvml-answer` where the two differ
 */
export function readConfidentialCompute(
  stateBytes: Uint8Array,
  settingsBytes: Uint8Array,
): ConfidentialComputeState {
  const state = decode(systemState, stateBytes, 'systemState');
  const all = decode(settings, settingsBytes, 'settings');
  for (const member of ['environment', 'enabled', 'devTools'] as const) {
    if (state[member] === all[member]) continue;
    throw nvmlContentRefusals.error('nvml-answer', {
      field: `settings.${member}`,
      expected: `${state[member]}, as in systemState`,
      found: String(all[member]),
    });
  }
  return {
    environment: named(ENVIRONMENTS, all.environment),
    enabled: all.enabled === 1,
    devTools: all.devTools === 1,
    multiGpuMode: named(MULTI_GPU_MODES, all.multiGpuMode),
  };
}

/** The layout has bounded the number before. */
function named<T>(names: readonly [T, ...T[]], number: number): T {
  return names[number] ?? names[0];
}

const FABRIC_BYTES = 36;
const FABRIC_STATES = ['not-supported', 'not-started', 'in-progress', 'completed'] as const;
export interface FabricInformation {
  /** How far the registration of the GPU has come. */
  readonly state: (typeof FABRIC_STATES)[number];
  /** Return code of a registration that is completed; 0 is success. */
  readonly status: number;
}
/** nvmlGpuFabricInfo_v2_t */
const fabric = structure({
  version: u32({ oneOf: [versionOf(2, FABRIC_BYTES)] }),
  clusterUuid: fixedBytes(16),
  status: u32(),
  cliqueId: u32(),
  state: u8({ max: FABRIC_STATES.length - 1 }),
  /** Left by the compiler of the library, with whatever was there. */
  padding: fixedBytes(3),
  healthMask: u32(),
});

export function fabricRequest(): Uint8Array {
  const request = {
    version: versionOf(2, FABRIC_BYTES),
    clusterUuid: new Uint8Array(16),
    status: 0,
    cliqueId: 0,
    state: 0,
    padding: new Uint8Array(3),
    healthMask: 0,
  };
  return encode(fabric, request, 'request');
}

export function readFabric(bytes: Uint8Array, path: string): FabricInformation {
  const { state, status } = decode(fabric, bytes, path);
  return { state: named(FABRIC_STATES, state), status };
}

/** NVML_STRUCT_VERSION: the number of the version above the size of the structure. */
function versionOf(version: number, bytes: number): number {
  return version * 2 ** 24 + bytes;
}

/**
 * A text that the library wrote into a buffer, up to the NUL.
 *
 * @throws RefusalError `nvml-answer` where there is no NUL or the text has another form
 */
export function readText(buffer: Uint8Array, form: RegExp, path: string): string {
  const end = buffer.indexOf(0);
  const text = Buffer.from(end < 0 ? buffer : buffer.subarray(0, end)).toString('latin1');
  if (end >= 0 && form.test(text)) return text;
  throw nvmlContentRefusals.error('nvml-answer', {
    field: path,
    expected: `a text of the form ${form.source}`,
    found: excerpt(text),
  });
}

export const UNSIGNED_BYTES = 4;
export const POINTER_BYTES = 8;

/** An address that the library wrote; it is only ever handed back. */
export function readPointer(bytes: Uint8Array): bigint {
  return decode(u64(), bytes, 'pointer');
}

/** An `unsigned int` that the library wrote. @throws RefusalError `layout-value` */
export function readUnsigned(bytes: Uint8Array, path: string, max = 0xffff_ffff): number {
  return decode(u32({ max }), bytes, path);
}
