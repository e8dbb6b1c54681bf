/**
 * NVIDIA's remote attestation service, asked to judge devices. Its answer is about one nonce and so never kept; what it is worth
 * is for attestation/nvidia-gpu/nras to say. Whoever asks shows NVIDIA which machine attests, and with what.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { toBase64, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { isRefusal, type Refusal } from '../../../attestation/core/refusal.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { CHIP_FAMILIES } from '../../../attestation/nvidia-gpu/chips.ts';
import { readLeaf } from '../../../attestation/nvidia-gpu/device-certificates.ts';
import type { DeviceEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import { nrasCollateralName } from '../../../attestation/nvidia-gpu/nras/verify.ts';
import { joinCertificates } from './certificates.ts';
import { NVIDIA_ADDRESSES, nvidiaIdentity } from './nvidia-services.ts';
import { ServiceClient, type ServiceOptions } from './service-client.ts';
import type { GatheredCollateral } from './sev-snp-collateral.ts';

export interface NvidiaRemoteServiceOptions extends ServiceOptions {
  readonly address?: string;
}

/** Version 4 of the service with claims 3.0; an answer about one device has about 4 KiB. */
const CLAIMS_VERSION = '3.0';
const MAX_ANSWER_BYTES = 64 * 1024;

export class NvidiaRemoteService {
  private readonly address: string;
  private readonly client: ServiceClient;

  constructor({ address = NVIDIA_ADDRESSES.attestation, ...options }: NvidiaRemoteServiceOptions = {}) {
    this.address = address;
    this.client = new ServiceClient(nvidiaIdentity('NVIDIA attestation service'), options);
  }

  /**
   * What the service answers about one device; undefined for a device of an unknown chip.
   *
   * @throws RefusalError `nvidia-*`, and what reading the leaf certificate throws
   */
  async ask({ report, certificates }: DeviceEvidence): Promise<Uint8Array | undefined> {
    const architecture = architectureOf(certificates);
    if (architecture === undefined) return undefined;
    const nonce = toHex(report.message.request.nonce);
    const entry = { evidence: toBase64(report.bytes), certificate: toBase64(joinCertificates(certificates)) };
    const question = { nonce, arch: architecture, claims_version: CLAIMS_VERSION, evidence_list: [entry] };
    const body = toUtf8(JSON.stringify(question));
    const headers = {
      accept: 'application/json',
      'content-type': 'application/json',
      'content-length': body.length,
    };
    return await this.client.ask({
      name: toHex(sha256(body)),
      url: new URL(`/v4/attest/${report.kind}`, this.address),
      exchange: { method: 'POST', headers, body },
      maxAnswerBytes: MAX_ANSWER_BYTES,
    });
  }
}

function architectureOf([leaf]: readonly Uint8Array[]): string | undefined {
  if (leaf === undefined) return undefined;
  const { family } = readLeaf(readCertificate(leaf, 'chain[0]'), 'chain[0]');
  return CHIP_FAMILIES.find(({ name }) => name === family)?.architecture;
}

/** Asks about each device by itself, for a policy that demands it. The key set of the service comes from a store. */
export async function gatherRemoteResults(
  service: Pick<NvidiaRemoteService, 'ask'>,
  devices: readonly DeviceEvidence[],
): Promise<GatheredCollateral> {
  const collateral = new Map<string, Uint8Array>();
  const failures: Refusal[] = [];
  for (const device of devices) {
    const [encoded] = device.certificates;
    try {
      const answer = await service.ask(device);
      if (answer !== undefined && encoded !== undefined)
        collateral.set(nrasCollateralName({ encoded }), answer);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      failures.push(error.refusal);
    }
  }
  return { collateral, failures };
}
