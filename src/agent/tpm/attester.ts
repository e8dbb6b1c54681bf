/**
 * The TPM as an attester: it names itself by an attestation key, proves where that key lives, and signs the PCRs
 * together with what it is asked to bind (docs/spec/tpm-agent.md).
 */

import { concatBytes, equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { decode, encode } from '../../../attestation/core/layout.ts';
import { attestationKeyIdentity } from '../../../attestation/tpm/attestation-key.ts';
import type { AgentEvent } from '../../../attestation/tpm/agent-log/read.ts';
import { type CollectedQuote, writeTpmEvidence } from '../../../attestation/tpm/evidence.ts';
import { tpmHash } from '../../../attestation/tpm/hash.ts';
import {
  Algorithm,
  attest as attestLayout,
  AttestType,
  publicArea as publicAreaLayout,
  pcrSelectionList,
  type PcrSelectionList,
  type QuoteAttest,
  signature as signatureLayout,
} from '../../../attestation/tpm/layout.ts';
import { computeName, computeQualifiedName, hierarchyName } from '../../../attestation/tpm/name.ts';
import { attestationKeyTemplates, type EndorsementTemplateName } from '../../../attestation/tpm/templates.ts';
import type { OpenTpmOptions } from '../../../native/tpm/open.ts';
import type { DeviceAttester, DeviceRequest, TpmRequest } from '../evidence.ts';
import type { EnrollingTpm } from '../key-release.ts';
import { Ratchet } from './ratchet.ts';
import { type AttestationKey, loadAttestationKey } from './attestation-key.ts';
import { type LogFiles, ORDINARY_LOG_FILES, readEventLogOf, readImaListOf } from './measurement-logs.ts';
import { agentMeasurementRefusals, AgentRegister, agentRequestRefusals } from './measure.ts';
import {
  type Endorsement,
  type EndorsementKey,
  endorsementSaltKey,
  findEndorsement,
  loadEndorsementKey,
} from './endorsement.ts';
import {
  tpmAnswerRefusals,
  tpmContentRefusals,
  tpmStateRefusals,
} from '../../../native/tpm-commands/refusals.ts';
import { Handle } from '../../../native/tpm-commands/commands.ts';
import { bankNamed, type PcrValue, toSelectionList } from '../../../native/tpm-commands/selection.ts';
import { type ClockReading, Tpm } from '../../../native/tpm-commands/tpm.ts';

/** The hash of the signing scheme of every attestation key that is made here; the quote's digest is made with it. */
const SCHEME_HASH = tpmHash(Algorithm.sha256, 'attestationKey.scheme');

/** How often a quote is made again because a PCR was extended between reading and quoting. */
const MAX_QUOTES = 8;

export interface TpmAttesterOptions extends OpenTpmOptions {
  /** Default `ecc-p256`: it is made in a fraction of the time that an RSA key takes. */
  readonly keyAlgorithm?: keyof typeof attestationKeyTemplates;
  /** Which endorsement keys to look for, in this order. */
  readonly endorsementTemplates?: readonly EndorsementTemplateName[];
  /** Where the logs of what was measured stand; by default where the kernel puts them. */
  readonly logs?: Partial<LogFiles>;
  /** What the agent measures of itself where the server asks for it; refused where this is missing. */
  readonly measurement?: AgentMeasurement;
}

/** What an agent measures of itself (docs/spec/tpm-agent-measurements.md). */
interface AgentMeasurement {
  /** Where the logs stand. */
  readonly folder: string;
  /** The digests are made when they are needed: that of the program takes seconds. */
  readonly events: () => Promise<readonly AgentEvent[]>;
}

/** Which PCRs of one bank. */
export type PcrRequest = Pick<TpmRequest, 'bank' | 'pcrs'>;

export class TpmAttester implements DeviceAttester, EnrollingTpm {
  readonly deviceClass = 'tpm';
  readonly bindsCompanions = false;
  /** DER. */
  readonly endorsementCertificate: Uint8Array;
  /** TPMT_PUBLIC of the attestation key. */
  readonly attestationKey: Uint8Array;
  /** Name of the attestation key: algorithm and digest. */
  readonly attestationKeyName: Uint8Array;
  private readonly tpm: Tpm;
  private readonly endorsement: Endorsement;
  private readonly key: AttestationKey;
  private readonly logs: LogFiles;
  private readonly ratchet: Ratchet;
  private readonly measurement: AgentMeasurement | undefined;
  /** The server gives a credential only to a certificate that it has verified. */
  private isCertified = false;

  private constructor(tpm: Tpm, endorsement: Endorsement, key: AttestationKey, options: TpmAttesterOptions) {
    this.tpm = tpm;
    this.endorsement = endorsement;
    this.key = key;
    this.ratchet = new Ratchet(tpm, attestationKeyIdentity(key.publicArea));
    this.logs = { ...ORDINARY_LOG_FILES, ...options.logs };
    this.measurement = options.measurement;
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
      const template = attestationKeyTemplates[options.keyAlgorithm ?? 'ecc-p256'];
      const key = await loadAttestationKey(tpm, template);
      return new TpmAttester(tpm, endorsement, key, options);
    } catch (error) {
      await tpm.close();
      throw error;
    }
  }

  /** What stands for this TPM in the value that it signs (RP-17): SHA-256 of the attestation key's Name, 32 bytes. */
  get identity(): Uint8Array {
    return attestationKeyIdentity(this.key.publicArea);
  }

  /**
   * Decrypts a credential that was made for the endorsement key in the certificate and for the attestation key. What is
   * in it passes the bus encrypted.
   *
   * @param credentialBlob TPMS_ID_OBJECT, without the size of its TPM2B form
   * @param encryptedSecret contents of TPM2B_ENCRYPTED_SECRET
   * @throws RefusalError `tpm-response` when it was made for another key or another TPM; `tpm-endorsement-key-other`,
   *   `tpm-session-*`
   */
  async activate(credentialBlob: Uint8Array, encryptedSecret: Uint8Array): Promise<Uint8Array> {
    const secret = await this.withSaltedTpm((own, endorsementKey) =>
      own.activateCredential(this.key, endorsementKey, credentialBlob, encryptedSecret),
    );
    this.isCertified = true;
    return secret;
  }

  /** The TPM's part of the evidence bundle (evidence.md). */
  async collect(request: DeviceRequest, deviceValue: Uint8Array): Promise<JsonValue> {
    if (request.class !== 'tpm') throw new TypeError(`a TPM was asked for evidence of ${request.class}`);
    // The log of the firmware is complete before this program starts. What grows is read after the quote, so that it
    // has all that the quote covers; a verifier leaves out what came later.
    const eventLog = request.eventLog ? await readEventLogOf(this.logs) : null;
    const register =
      request.agentPcr === null ? null : await this.measureAgent(request.agentPcr, request.bank);
    const quote = await this.quote(deviceValue, request);
    const imaList = request.imaList ? await readImaListOf(this.logs) : null;
    const agentLog = register === null ? null : await register.provenLog(quotedValue(quote, register.pcr));
    const ratchet = request.ratchet ? await this.ratchet.present(this.key.handle, deviceValue) : null;
    return writeTpmEvidence(quote, { eventLog, imaList, agentLog }, ratchet);
  }

  /** @throws RefusalError `agent-measurement-missing`, `agent-measurement-late`, and those of {@link AgentRegister} */
  private async measureAgent(pcr: number, bank: TpmRequest['bank']): Promise<AgentRegister> {
    const field = `PCR ${pcr}`;
    if (this.measurement === undefined) {
      const facts = { field, expected: 'an agent that measures itself', found: 'another command' };
      throw agentMeasurementRefusals.error('agent-measurement-missing', facts);
    }
    const register = new AgentRegister(pcr, bankNamed(bank), this.measurement.folder);
    await register.measure(this.tpm, await this.measurement.events(), (work) => {
      if (this.isCertified) return this.withSaltedTpm(work);
      const facts = { field, expected: 'what this agent measured at its enrolment', found: 'less' };
      throw agentMeasurementRefusals.error('agent-measurement-late', facts);
    });
    return register;
  }

  /** The next evidence moves the ratchet on from what was last collected (LC-28). */
  async settle(): Promise<void> {
    await this.ratchet.settle();
  }

  /** Work under a session whose salt only the TPM of the verified certificate can read. */
  private async withSaltedTpm<T>(work: (tpm: Tpm, endorsementKey: EndorsementKey) => Promise<T>): Promise<T> {
    const key = await loadEndorsementKey(this.tpm, this.endorsement);
    const salted = (): Promise<T> =>
      this.tpm.withSaltedSession(endorsementSaltKey(this.endorsement, key.handle), (own) => work(own, key));
    return key.transient ? this.tpm.flushAfter(key.handle, salted) : salted();
  }

  /**
   * Quotes the selected PCRs. The values that are returned are those that the quote covers: when one was extended
   * between reading and quoting, both are done again.
   *
   * @param qualifyingData what the quote is bound to, 32 bytes
   * @throws RefusalError `tpm-bank-missing`, `tpm-pcrs-unstable`, `tpm-response`
   */
  async quote(qualifyingData: Uint8Array, { bank, pcrs }: PcrRequest): Promise<CollectedQuote> {
    const list = toSelectionList({ [bank]: pcrs });
    for (let attempt = 0; attempt < MAX_QUOTES; attempt += 1) {
      const values = await this.tpm.readPcrs(list);
      const { attest, signature } = await this.tpm.quote(this.key, qualifyingData, list);
      const statement = this.readQuote(attest);
      if (!coversValues(statement, list, values)) continue;
      return {
        akPublic: this.attestationKey,
        attest,
        signature: encode(signatureLayout, signature, 'signature'),
        bank,
        pcrs: new Map(values.map(({ pcr, value }) => [pcr, value])),
      };
    }
    throw tpmStateRefusals.error('tpm-pcrs-unstable', {
      field: 'pcrs',
      expected: 'the same values when read and when quoted',
      found: `other ones in ${MAX_QUOTES} attempts`,
    });
  }

  /**
   * Reads a quote of the attestation key. After a reset another program may have a key of its own under the same handle.
   *
   * @throws RefusalError `tpm-answer-malformed`, `tpm-was-reset`
   */
  private readQuote(attest: Uint8Array): QuoteAttest {
    const statement = decode(attestLayout, attest, 'attest');
    if (statement.type !== AttestType.quote) {
      throw tpmContentRefusals.error('tpm-answer-malformed', {
        field: 'attest.type',
        expected: 'a quote',
        found: `0x${statement.type.toString(16)}`,
      });
    }
    const signer = computeQualifiedName(hierarchyName(Handle.endorsement), this.attestationKeyName);
    if (!equalBytes(statement.qualifiedSigner, signer)) {
      throw tpmStateRefusals.error('tpm-was-reset', {
        field: 'attest.qualifiedSigner',
        expected: toHex(signer),
        found: toHex(statement.qualifiedSigner),
      });
    }
    return statement;
  }

  clock(): Promise<ClockReading> {
    return this.tpm.clock();
  }

  /** Unloads the attestation key and ends the connection, also when the TPM no longer answers. */
  async close(): Promise<void> {
    if (this.key.isOwn) await this.tpm.flush(this.key.handle).catch(() => undefined);
    await this.tpm.close();
  }
}

/** The value of a register that a challenge names for the agent, which it has to have quoted, too. */
function quotedValue({ pcrs }: CollectedQuote, pcr: number): Uint8Array {
  const value = pcrs.get(pcr);
  if (value !== undefined) return value;
  const facts = {
    field: 'challenge.pcrs',
    expected: `PCR ${pcr}, which the agent measures into`,
    found: 'not',
  };
  throw agentRequestRefusals.error('agent-pcr-unquoted', facts);
}

/** Whether the quote is over exactly these values. @throws RefusalError `tpm-bank-missing` */
function coversValues(
  statement: QuoteAttest,
  wanted: PcrSelectionList,
  values: readonly PcrValue[],
): boolean {
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
  return equalBytes(pcrDigest, SCHEME_HASH.digest(concatBytes(...values.map(({ value }) => value))));
}
