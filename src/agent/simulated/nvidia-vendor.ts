/**
 * All that NVIDIA gives a verifier, in software: the two roots, manifests for any version of firmware, and answers
 * about the certificates of devices and manifests. Only a server born in evaluation mode takes its roots (W9).
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { equalBytes } from '../../../attestation/core/bytes.ts';
import type { TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { ocspCollateralName } from '../../../attestation/nvidia-gpu/ocsp/appraise.ts';
import { readOpaqueData } from '../../../attestation/nvidia-gpu/opaque-data.ts';
import { readGpuFields, readSwitchFields } from '../../../attestation/nvidia-gpu/opaque-fields.ts';
import { driverRimId, switchRimId, vbiosRimId } from '../../../attestation/nvidia-gpu/rim/identifier.ts';
import { SimulatedNvidia } from './nvidia-authority.ts';
import type { CertifiedKey } from './nvidia-certificates.ts';
import type { SimulatedNvidiaDevice } from './nvidia-device.ts';
import { SimulatedManifestIssuer } from './nvidia-manifest-issuer.ts';
import { SimulatedResponder, type AnswerOptions } from './nvidia-ocsp.ts';
import { manifestOf } from './nvidia-report.ts';

export class SimulatedVendor {
  readonly devices: SimulatedNvidia;
  readonly manifests: SimulatedManifestIssuer;
  /** POSIX seconds. */
  private readonly madeAt: number;
  /** By the issuer's certificate: each has left its answers to a responder of its own. */
  private readonly responders = new Map<Uint8Array, Promise<SimulatedResponder>>();

  private constructor(devices: SimulatedNvidia, manifests: SimulatedManifestIssuer, madeAt: number) {
    this.devices = devices;
    this.manifests = manifests;
    this.madeAt = madeAt;
  }

  /** @param posixSeconds the present */
  static async create(posixSeconds: number): Promise<SimulatedVendor> {
    const devices = await SimulatedNvidia.create(posixSeconds);
    const manifests = await SimulatedManifestIssuer.create(posixSeconds);
    return new SimulatedVendor(devices, manifests, posixSeconds);
  }

  /** The roots, each for its own purpose, as pins of their keys. */
  get anchors(): readonly TrustAnchor[] {
    const pin = ({ certificate }: CertifiedKey): Uint8Array =>
      sha256(readCertificate(certificate, 'root').subjectPublicKeyInfo);
    const simulated = true;
    const [devices, manifests] = [pin(this.devices.root), pin(this.manifests.root)];
    return [
      { name: 'Simulated NVIDIA devices', publicKeyDigest: devices, simulated, purpose: 'endorsements' },
      {
        name: 'Simulated NVIDIA manifests',
        publicKeyDigest: manifests,
        simulated,
        purpose: 'reference-values',
      },
    ];
  }

  /** The answer about a certificate that a key of this vendor issued. @throws Error for one of somebody else */
  async answer(certificate: Uint8Array, options: AnswerOptions = {}): Promise<Uint8Array> {
    const { issuer } = readCertificate(certificate, 'certificate');
    const key = this.issuers().find(({ certificate: above }) =>
      equalBytes(readCertificate(above, 'issuer').subject, issuer),
    );
    if (key === undefined) throw new Error('no key of the simulated vendor issued this certificate');
    const responder = this.responders.get(key.certificate) ?? SimulatedResponder.create(key, this.madeAt);
    this.responders.set(key.certificate, responder);
    return (await responder).answer(certificate, options);
  }

  /**
   * What a verifier needs besides the evidence of a device: manifests that match firmware of its versions, and answers
   * that the certificates of both chains are good, by their names as collateral.
   */
  async collateralFor(
    device: SimulatedNvidiaDevice,
    options: AnswerOptions = {},
  ): Promise<ReadonlyMap<string, Uint8Array>> {
    const chain = this.manifests.chainOf(device.chip).map(({ certificate }) => certificate);
    return new Map([
      ...this.manifestsFor(device),
      ...(await this.answersAbout([...device.chain.slice(1, -1), ...chain.slice(0, -1)], options)),
    ]);
  }

  /** The manifests of a device's firmware, by their names as collateral. */
  manifestsFor({ chip, template }: SimulatedNvidiaDevice): ReadonlyMap<string, Uint8Array> {
    const opaque = readOpaqueData(template.response.opaqueData, 'opaqueData');
    const issue = (role: 'driver' | 'vbios' | 'switch', version: string): Uint8Array =>
      this.manifests.issue(manifestOf(chip, role, version));
    if (chip === 'LS10') {
      const { vbiosVersion } = readSwitchFields(opaque, 'opaqueData');
      return new Map([[`rim:${switchRimId({ vbiosVersion })}`, issue('switch', vbiosVersion)]]);
    }
    const fields = readGpuFields(opaque, 'opaqueData');
    const { driverVersion, vbiosVersion } = fields;
    return new Map([
      [`rim:${driverRimId({ chip, driverVersion })}`, issue('driver', driverVersion)],
      [`rim:${vbiosRimId(fields)}`, issue('vbios', vbiosVersion)],
    ]);
  }

  /** Answers about certificates that keys of this vendor issued, by their names as collateral. */
  private async answersAbout(
    certificates: readonly Uint8Array[],
    options: AnswerOptions,
  ): Promise<ReadonlyMap<string, Uint8Array>> {
    const answers = certificates.map(async (encoded) => {
      return [ocspCollateralName({ encoded }), await this.answer(encoded, options)] as const;
    });
    return new Map(await Promise.all(answers));
  }

  private issuers(): readonly CertifiedKey[] {
    return [...this.devices.issuers, ...this.manifests.issuers];
  }
}
