/**
 * The TPM as an attester: it names itself by an attestation key, proves where that key lives, and signs the PCRs
 * together with what it is asked to bind (docs/spec/tpm-agent.md).
 */

import { createHash } from 'node:crypto';

import { concatBytes, equalBytes, toBase64 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { decode, encode } from '../../../attestation/core/layout.ts';
import {
  attest as attestLayout,
  AttestType,
  publicArea as publicAreaLayout,
  pcrSelectionList,
  type PcrSelectionList,
  signature as signatureLayout,
} from '../../../attestation/tpm/layout.ts';
import { computeName } from '../../../attestation/tpm/name.ts';
import type { OpenTpmOptions } from '../../../native/tpm/open.ts';
import type { DeviceAttester, DeviceRequest } from '../evidence.ts';
import type { EnrollingTpm } from '../key-release.ts';
import { Handle } from './commands.ts';
import { type Endorsement, findEndorsement, loadEndorsementKey } from './endorsement.ts';
import { tpmAnswerRefusals, tpmContentRefusals, tpmStateRefusals } from './refusals.ts';
import {
  type PcrSelection,
  type PcrValue,
  type PcrValues,
  toPcrValues,
  toSelectionList,
} from './selection.ts';
import {
  ATTESTATION_KEY_TEMPLATES,
  type AttestationKeyAlgorithm,
  type EndorsementTemplateName,
} from './templates.ts';
import { type ClockReading, type LoadedKey, Tpm } from './tpm.ts';

/** How often a quote is made again because a PCR was extended between reading and quoting. */
const MAX_QUOTES = 8;

export interface TpmAttesterOptions extends OpenTpmOptions {
  /** Default `ecc`: it is made in a fraction of the time that an RSA key takes. */
  readonly keyAlgorithm?: AttestationKeyAlgorithm;
  /** Which endorsement keys to look for, in this order. */
  readonly endorsementTemplates?: readonly EndorsementTemplateName[];
}

/** A signed statement about the PCRs, and their values that it covers. */
export interface PcrQuote {
  /** TPMS_ATTEST, exactly the bytes that are signed. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
  readonly pcrs: PcrValues;
}

export class TpmAttester implements DeviceAttester, EnrollingTpm {
  readonly deviceClass = 'tpm';
  /** DER. */
  readonly endorsementCertificate: Uint8Array;
  /** TPMT_PUBLIC of the attestation key. */
  readonly attestationKey: Uint8Array;
  /** Name of the attestation key: algorithm and digest. */
  readonly attestationKeyName: Uint8Array;
  private readonly tpm: Tpm;
  private readonly endorsement: Endorsement;
  private readonly key: LoadedKey;

  private constructor(tpm: Tpm, endorsement: Endorsement, key: LoadedKey) {
    this.tpm = tpm;
    this.endorsement = endorsement;
    this.key = key;
    this.endorsementCertificate = endorsement.certificate;
    this.attestationKey = encode(publicAreaLayout, key.publicArea, 'attestationKey');
    this.attestationKeyName = computeName(key.publicArea);
  }

  /**
   * Opens the TPM, reads its certificate and makes the attestation key, which is the same at every start.
   *
   * @param address TCTI text, for example `device:/dev/tpmrm0`
   * @throws RefusalError `tpm-*`: what kept the TPM from being opened, or what it refused
   */
  static async open(address: string, options: TpmAttesterOptions = {}): Promise<TpmAttester> {
    const tpm = await Tpm.open(address, options);
    try {
      const endorsement = await findEndorsement(tpm, options.endorsementTemplates);
      const template = ATTESTATION_KEY_TEMPLATES[options.keyAlgorithm ?? 'ecc'];
      return new TpmAttester(tpm, endorsement, await tpm.createPrimary(Handle.endorsement, template));
    } catch (error) {
      await tpm.close();
      throw error;
    }
  }

  /** What stands for this TPM in the value that it signs (RP-17): SHA-256 of the attestation key's Name, 32 bytes. */
  get identity(): Uint8Array {
    return sha256(this.attestationKeyName);
  }

  /**
   * Decrypts a credential that was made for the endorsement key in the certificate and for the attestation key.
   *
   * @param credentialBlob contents of TPM2B_ID_OBJECT
   * @param encryptedSecret contents of TPM2B_ENCRYPTED_SECRET
   * @throws RefusalError `tpm-response` when it was made for another key or another TPM; `tpm-endorsement-key-other`
   */
  async activate(credentialBlob: Uint8Array, encryptedSecret: Uint8Array): Promise<Uint8Array> {
    const endorsementKey = await loadEndorsementKey(this.tpm, this.endorsement);
    const work = (): Promise<Uint8Array> =>
      this.tpm.activateCredential(this.key.handle, endorsementKey, credentialBlob, encryptedSecret);
    return endorsementKey.transient ? this.tpm.flushAfter(endorsementKey.handle, work) : work();
  }

  /** The TPM's part of the evidence bundle (evidence.md). */
  async collect(request: DeviceRequest, deviceValue: Uint8Array): Promise<JsonValue> {
    const { attest, signature, pcrs } = await this.quote(deviceValue, { [request.bank]: request.pcrs });
    return {
      akPublic: toBase64(this.attestationKey),
      attest: toBase64(attest),
      signature: toBase64(signature),
      pcrs,
    };
  }

  /**
   * Quotes the selected PCRs. The values that are returned are those that the quote covers: when one was extended
   * between reading and quoting, both are done again.
   *
   * @param qualifyingData what the quote is bound to, 32 bytes
   * @throws RefusalError `tpm-bank-missing`, `tpm-pcrs-unstable`, `tpm-response`
   */
  async quote(qualifyingData: Uint8Array, selection: PcrSelection): Promise<PcrQuote> {
    const list = toSelectionList(selection);
    for (let attempt = 0; attempt < MAX_QUOTES; attempt += 1) {
      const values = await this.tpm.readPcrs(list);
      const { attest, signature } = await this.tpm.quote(this.key.handle, qualifyingData, list);
      if (!coversValues(attest, list, values)) continue;
      return {
        attest,
        signature: encode(signatureLayout, signature, 'signature'),
        pcrs: toPcrValues(values),
      };
    }
    throw tpmStateRefusals.error('tpm-pcrs-unstable', {
      field: 'pcrs',
      expected: 'the same values when read and when quoted',
      found: `other ones in ${MAX_QUOTES} attempts`,
    });
  }

  clock(): Promise<ClockReading> {
    return this.tpm.clock();
  }

  /** Unloads the attestation key and ends the connection, also when the TPM no longer answers. */
  async close(): Promise<void> {
    await this.tpm.flush(this.key.handle).catch(() => undefined);
    await this.tpm.close();
  }
}

/** Whether the quote is over exactly these values. @throws RefusalError `tpm-bank-missing`, `tpm-answer-malformed` */
function coversValues(attest: Uint8Array, wanted: PcrSelectionList, values: readonly PcrValue[]): boolean {
  const statement = decode(attestLayout, attest, 'attest');
  if (statement.type !== AttestType.quote) {
    throw tpmContentRefusals.error('tpm-answer-malformed', {
      field: 'attest.type',
      expected: 'a quote',
      found: `0x${statement.type.toString(16)}`,
    });
  }
  const { pcrSelect, pcrDigest } = statement.attested;
  const selection = (list: PcrSelectionList): Uint8Array =>
    encode(pcrSelectionList, list, 'attest.pcrSelect');
  // A bank that is not allocated is quoted without any complaint, as an empty selection.
  if (!equalBytes(selection(pcrSelect), selection(wanted))) {
    throw tpmAnswerRefusals.error('tpm-bank-missing', {
      field: 'attest.pcrSelect',
      expected: 'the PCRs that were asked for',
      found: 'others',
    });
  }
  return equalBytes(pcrDigest, sha256(concatBytes(...values.map(({ value }) => value))));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest());
}
