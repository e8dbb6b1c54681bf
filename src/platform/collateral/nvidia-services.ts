/**
 * NVIDIA's services that answer anybody: manifests, OCSP answers, keys of the attestation service. What they answer is checked by
 * nvidia-check.ts; only the nonce of an OCSP answer is demanded here, because nobody else knows it.
 */

import { randomBytes } from 'node:crypto';

import { z } from 'zod';

import { excerpt, fromBase64, fromUtf8 } from '../../../attestation/core/bytes.ts';
import { parseForeignJson } from '../../../attestation/core/foreign-json.ts';
import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { writeOcspRequest } from '../../../attestation/nvidia-gpu/ocsp/request.ts';
import { verifyOcspAnswer } from '../../../attestation/nvidia-gpu/ocsp/verify.ts';
import { systemClock, type Clock } from '../clock.ts';
import { nvidiaItemName, type NvidiaItem, type OcspItem, type RimItem } from './nvidia-items.ts';
import { ServiceClient, type ServiceIdentity, type ServiceOptions } from './service-client.ts';
import { MAX_COLLATERAL_BYTES, type CollateralSource } from './source.ts';

export const nvidiaReachRefusals = defineRefusals('unavailable', {
  'nvidia-unreachable': {
    means: 'A service of NVIDIA did not answer.',
    hint: 'Check that this machine can reach NVIDIA’s services, or import the collateral by hand.',
  },
  'nvidia-timeout': {
    means: 'A service of NVIDIA did not answer completely in time.',
    hint: 'Try again later, or import the collateral by hand.',
  },
  'nvidia-busy': {
    means: 'A service of NVIDIA asks to be left alone, or too much is to be fetched at once.',
    hint: 'Wait some minutes; what was fetched once is kept.',
  },
});

export const nvidiaAnswerRefusals = defineRefusals('inauthentic', {
  'nvidia-not-trusted': {
    means: 'What answered did not prove over TLS to be a service of NVIDIA.',
    hint: 'Check the way out of this network; do not work round this.',
  },
  'nvidia-answer': {
    means: 'A service of NVIDIA answered something that it never should.',
    hint: 'Check for a proxy that writes answers of its own, or import the collateral by hand.',
  },
});

/** Where the services are. Each may be a mirror, or undefined: then it is not asked. */
export interface NvidiaAddresses {
  readonly manifests: string | undefined;
  readonly ocsp: string | undefined;
  readonly attestation: string | undefined;
}

export const NVIDIA_ADDRESSES = {
  manifests: 'https://rim.attestation.nvidia.com',
  ocsp: 'https://ocsp.ndis.nvidia.com',
  attestation: 'https://nras.attestation.nvidia.com',
} as const satisfies NvidiaAddresses;

export interface NvidiaServicesOptions extends ServiceOptions {
  readonly addresses?: NvidiaAddresses;
}

const NONCE_BYTES = 32;
/** An answer to a question that was just asked; the responder may have made it some time before. */
const MAX_FRESH_SECONDS = 24 * 3600;
/** The manifest in base64, and some members around it. */
const MAX_WRAPPED_BYTES = 2 * MAX_COLLATERAL_BYTES.rim;
const MAX_DEPTH = 4;

/** How failures of a service of NVIDIA are refused. */
export function nvidiaIdentity(name: string): ServiceIdentity {
  return {
    name,
    refusal: (failure, facts, options) =>
      failure === 'not-trusted' || failure === 'answer'
        ? nvidiaAnswerRefusals.error(`nvidia-${failure}`, facts, options)
        : nvidiaReachRefusals.error(`nvidia-${failure}`, facts, options),
  };
}

/** Asks the services, each one thing at a time. */
export class NvidiaServices implements CollateralSource<NvidiaItem> {
  private readonly addresses: NvidiaAddresses;
  private readonly clock: Clock;
  private readonly manifests: ServiceClient;
  private readonly ocsp: ServiceClient;
  private readonly attestation: ServiceClient;

  constructor({ addresses = NVIDIA_ADDRESSES, ...options }: NvidiaServicesOptions = {}) {
    this.addresses = addresses;
    this.clock = options.clock ?? systemClock;
    this.manifests = new ServiceClient(nvidiaIdentity('NVIDIA RIM service'), options);
    this.ocsp = new ServiceClient(nvidiaIdentity('NVIDIA OCSP responder'), options);
    this.attestation = new ServiceClient(nvidiaIdentity('NVIDIA attestation service'), options);
  }

  /** @throws RefusalError `nvidia-*`; for answers about certificates also `ocsp-*` and what reading them throws */
  async find(item: NvidiaItem): Promise<Uint8Array | undefined> {
    switch (item.kind) {
      case 'rim':
        return await this.findManifest(item);
      case 'ocsp':
        return await this.askResponder(item);
      case 'nras-keys':
        return await this.findKeys();
      case 'issuer-chain':
      case 'superseded-rim':
        return undefined;
    }
  }

  private async findManifest(item: RimItem): Promise<Uint8Array | undefined> {
    const { manifests } = this.addresses;
    if (manifests === undefined) return undefined;
    const bytes = await this.manifests.ask({
      name: nvidiaItemName(item),
      url: new URL(`/v1/rim/${item.identifier}`, manifests),
      exchange: { method: 'GET', headers: { accept: 'application/json' } },
      maxAnswerBytes: MAX_WRAPPED_BYTES,
    });
    return bytes && unwrapManifest(bytes, item);
  }

  private async findKeys(): Promise<Uint8Array | undefined> {
    const { attestation } = this.addresses;
    if (attestation === undefined) return undefined;
    return await this.attestation.ask({
      name: 'keys',
      url: new URL('/.well-known/jwks.json', attestation),
      exchange: { method: 'GET', headers: { accept: 'application/json' } },
      maxAnswerBytes: MAX_COLLATERAL_BYTES['nras-keys'],
    });
  }

  /** Whoever asks while another question about the same certificate is under way gets that one's answer, nonce and all. */
  private readonly questions = new Map<string, Promise<Uint8Array | undefined>>();

  private askResponder(item: OcspItem): Promise<Uint8Array | undefined> {
    const name = nvidiaItemName(item);
    const underway = this.questions.get(name);
    if (underway !== undefined) return underway;
    const answer = this.askOnce(item, name).finally(() => this.questions.delete(name));
    this.questions.set(name, answer);
    return answer;
  }

  private async askOnce({ chain }: OcspItem, name: string): Promise<Uint8Array | undefined> {
    const { ocsp } = this.addresses;
    const [certificate, issuer] = chain.slice(0, 2).map((der, i) => readCertificate(der, `chain[${i}]`));
    if (ocsp === undefined || certificate === undefined || issuer === undefined) return undefined;
    const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
    const body = writeOcspRequest(certificate, issuer, nonce);
    const headers = {
      accept: 'application/ocsp-response',
      'content-type': 'application/ocsp-request',
      'content-length': body.length,
    };
    const bytes = await this.ocsp.ask({
      name,
      url: new URL(ocsp),
      exchange: { method: 'POST', headers, body },
      maxAnswerBytes: MAX_COLLATERAL_BYTES.ocsp,
    });
    if (bytes === undefined) return undefined;
    const time = this.clock.posixSeconds();
    await verifyOcspAnswer(bytes, { certificate, issuer, time, maxAgeSeconds: MAX_FRESH_SECONDS, nonce });
    return bytes;
  }
}

/** What stands around a manifest. None of it is signed; the digest is not compared, as nothing rests on it. */
const wrappedSchema = z.strictObject({
  id: z.string(),
  rim: z.string(),
  sha256: z.string().optional(),
  last_updated: z.string().optional(),
  rim_format: z.string().optional(),
  request_id: z.string().optional(),
  coev: z.unknown().optional(),
  coev_sha256: z.unknown().optional(),
});

function unwrapManifest(bytes: Uint8Array, { identifier }: RimItem): Uint8Array {
  const field = 'NVIDIA RIM service';
  const bad = (expected: string, found: string): Error =>
    nvidiaAnswerRefusals.error('nvidia-answer', { field, expected, found });
  const parsed = parseForeignJson(fromUtf8(bytes, field), MAX_DEPTH);
  if (parsed.problem !== undefined) throw bad('JSON with each member once', parsed.problem);
  const wrapped = wrappedSchema.safeParse(parsed.value);
  if (!wrapped.success) throw bad('a manifest with its identifier', 'another shape');
  if (wrapped.data.id !== identifier) throw bad(identifier, excerpt(wrapped.data.id));
  return fromBase64(wrapped.data.rim, `${field}.rim`);
}
