/** An enrolled attestation key that vouches for another key of the same TPM (docs/spec/tpm-identity.md, section 3). */

import { encode } from '../../../attestation/core/layout.ts';
import type { PresentedCertification } from '../../../attestation/tpm/certify.ts';
import { publicArea, signature as signatureLayout } from '../../../attestation/tpm/layout.ts';
import { attestationKeyTemplates } from '../../../attestation/tpm/templates.ts';
import { certifyObject } from '../../../native/tpm-commands/certify-command.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import type { OpenTpmOptions } from '../../../native/tpm/open.ts';
import type { CertifyingTpm } from '../certified-enrolment.ts';
import { type AttestationKey, loadAttestationKey } from './attestation-key.ts';

type KeyAlgorithm = keyof typeof attestationKeyTemplates;

export interface CertifierOptions extends OpenTpmOptions {
  /** Kind of the key that is enrolled. */
  readonly certifiedBy: KeyAlgorithm;
  /** Kind of the key to enrol. */
  readonly keyAlgorithm: KeyAlgorithm;
}

/** Both keys, loaded. */
export class TpmCertifier implements CertifyingTpm {
  readonly certifyingKey: Uint8Array;
  readonly attestationKey: Uint8Array;
  private readonly tpm: Tpm;
  private readonly certifier: AttestationKey;
  private readonly certified: AttestationKey;

  private constructor(tpm: Tpm, certifier: AttestationKey, certified: AttestationKey) {
    this.tpm = tpm;
    this.certifier = certifier;
    this.certified = certified;
    this.certifyingKey = encode(publicArea, certifier.publicArea, 'certifyingKey');
    this.attestationKey = encode(publicArea, certified.publicArea, 'attestationKey');
  }

  /**
   * @param address TCTI text, for example `device:/dev/tpmrm0`
   * @throws RefusalError `tpm-*`: what kept the TPM from being opened, or what it refused
   */
  static async open(address: string, options: CertifierOptions): Promise<TpmCertifier> {
    const tpm = await Tpm.open(address, options);
    const loaded: AttestationKey[] = [];
    try {
      for (const kind of [options.certifiedBy, options.keyAlgorithm])
        loaded.push(await loadAttestationKey(tpm, attestationKeyTemplates[kind]));
      const [certifier, certified] = loaded;
      if (certifier === undefined || certified === undefined) throw new TypeError('two keys were loaded');
      return new TpmCertifier(tpm, certifier, certified);
    } catch (error) {
      await unload(tpm, loaded);
      throw error;
    }
  }

  async certify(qualifyingData: Uint8Array): Promise<PresentedCertification> {
    const { attest, signature } = await certifyObject(
      this.tpm,
      this.certified.handle,
      this.certifier.handle,
      qualifyingData,
    );
    return { attest, signature: encode(signatureLayout, signature, 'signature') };
  }

  /** Unloads both keys and ends the connection, also when the TPM no longer answers. */
  async close(): Promise<void> {
    await unload(this.tpm, [this.certifier, this.certified]);
  }
}

async function unload(tpm: Tpm, keys: readonly AttestationKey[]): Promise<void> {
  for (const key of keys) if (key.isOwn) await tpm.flush(key.handle).catch(() => undefined);
  await tpm.close();
}
