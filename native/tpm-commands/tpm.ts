/** A TPM 2.0 as the agent uses it: typed commands over a transport, and nothing left loaded. */

import { concatBytes, equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { type ValueOf } from '../../attestation/core/layout.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import {
  Algorithm,
  ObjectAttribute,
  type PcrSelectionList,
  type PublicArea,
  type Signature,
} from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import { openTpm, type OpenTpmOptions } from '../tpm/open.ts';
import type { TpmTransport } from '../tpm/transport.ts';
import { CommandChannel } from './command-channel.ts';
import * as commands from './commands.ts';
import type { Command, Invocation, Reply } from './frames.ts';
import { tpmAnswerRefusals, tpmContentRefusals, tpmSessionRefusals, tpmStateRefusals } from './refusals.ts';
import type { SaltKey } from './salt-key.ts';
import { freshNonce, SaltedSession, SESSION_CIPHER, SESSION_HASH } from './salted-session.ts';
import { type PcrValue, selectedPcrs, withoutPcrs } from './selection.ts';

const { Capability, Handle, NvAttribute, Property, SessionType } = commands;

/** How often PCRs are read again because another program extended one between two reads. */
const MAX_PCR_READINGS = 8;

/** TPM_SU (Part 2, section 6.10). */
const STATE_CLEAR = 0x0000;

/** What every TPM can send at once from its storage when it does not say how much it can. */
const SMALLEST_NV_BUFFER_BYTES = 512;
const LARGEST_NV_BUFFER_BYTES = 2048;

/** A key that is loaded in the TPM under a transient or persistent handle. */
export interface LoadedKey {
  readonly handle: number;
  readonly publicArea: PublicArea;
  /** Name, as the TPM says. A verifier computes its own. */
  readonly name: Uint8Array;
}

export type ClockReading = ValueOf<typeof commands.readClock.response>;

const EMPTY = new Uint8Array(0);

export class Tpm {
  private readonly channel: CommandChannel;
  private readonly session: SaltedSession | undefined;

  private constructor(channel: CommandChannel, session?: SaltedSession) {
    this.channel = channel;
    this.session = session;
  }

  static over(transport: TpmTransport): Tpm {
    return new Tpm(new CommandChannel(transport));
  }

  /**
   * @param address TCTI text, see {@link openTpm}
   * @throws RefusalError of {@link openTpm}
   */
  static async open(address: string, options: OpenTpmOptions = {}): Promise<Tpm> {
    return Tpm.over(await openTpm(address, options));
  }

  close(): Promise<void> {
    return this.channel.close();
  }

  /** Properties from `first` on, as many as the TPM gives at once. */
  async properties(first: number, count: number): Promise<ReadonlyMap<number, number>> {
    const data = await this.capability(Capability.tpmProperties, first, count);
    if (data.capability !== Capability.tpmProperties) throw this.otherAnswer(commands.getCapability.name);
    return new Map(data.properties.map(({ property, value }) => [property, value]));
  }

  /** The PCR banks, each with the PCRs that are allocated in it. */
  async pcrBanks(): Promise<PcrSelectionList> {
    const data = await this.capability(Capability.pcrs, 0, 1);
    if (data.capability !== Capability.pcrs) throw this.otherAnswer(commands.getCapability.name);
    return data.banks;
  }

  /** Handles that exist from `first` on, inside the range of `first`. */
  async handles(first: number, count: number): Promise<readonly number[]> {
    const data = await this.capability(Capability.handles, first, count);
    if (data.capability !== Capability.handles) throw this.otherAnswer(commands.getCapability.name);
    return data.handles.filter((handle) => handle >>> 24 === first >>> 24);
  }

  /** At most `bytes` of randomness: a TPM may give less, one digest at a time. */
  async random(bytes: number): Promise<Uint8Array> {
    const { parameters } = await this.run(commands.getRandom, { handles: [], parameters: { bytes } });
    return parameters.random;
  }

  /** Everything that is stored at an index which can be read with the empty password. */
  async readNv(index: number): Promise<Uint8Array> {
    const { publicArea } = (await this.run(commands.nvReadPublic, { handles: [index], parameters: {} }))
      .parameters;
    const authority = (publicArea.attributes & NvAttribute.authRead) === 0 ? Handle.owner : index;
    const chunkBytes = await this.largestNvRead();
    const chunks: Uint8Array[] = [];
    for (let offset = 0; offset < publicArea.dataBytes; offset += chunkBytes) {
      const size = Math.min(chunkBytes, publicArea.dataBytes - offset);
      const reply = await this.run(commands.nvRead, {
        handles: [authority, index],
        parameters: { size, offset },
      });
      if (reply.parameters.data.length !== size) throw this.otherAnswer(commands.nvRead.name);
      chunks.push(reply.parameters.data);
    }
    return concatBytes(...chunks);
  }

  private async largestNvRead(): Promise<number> {
    const properties = await this.properties(Property.largestNvRead, 1);
    const bytes = properties.get(Property.largestNvRead) ?? SMALLEST_NV_BUFFER_BYTES;
    return Math.max(1, Math.min(bytes, LARGEST_NV_BUFFER_BYTES));
  }

  /** Makes a primary key from its template. The same template gives the same key until the seed changes. */
  async createPrimary(hierarchy: number, template: PublicArea): Promise<LoadedKey> {
    const { handle, parameters } = await this.run(commands.createPrimary, {
      handles: [hierarchy],
      parameters: {
        sensitive: { userAuth: EMPTY, data: EMPTY },
        template,
        outsideInfo: EMPTY,
        creationPcrs: [],
      },
    });
    const { publicArea, name } = parameters;
    if (!equalBytes(name, computeName(publicArea))) throw this.otherAnswer(commands.createPrimary.name);
    return { handle, publicArea, name };
  }

  async readPublic(handle: number): Promise<LoadedKey & { readonly qualifiedName: Uint8Array }> {
    const { parameters } = await this.run(commands.readPublic, { handles: [handle], parameters: {} });
    return { handle, ...parameters };
  }

  /**
   * Decrypts a credential that a server made for `key` and for this TPM's endorsement key. The low range of
   * endorsement keys may be used only under their policy, which is the (empty) password of the endorsement
   * hierarchy; those of the high range have an empty password of their own.
   *
   * @param credentialBlob contents of TPM2B_ID_OBJECT
   * @param secret contents of TPM2B_ENCRYPTED_SECRET
   */
  async activateCredential(
    key: LoadedKey,
    endorsementKey: LoadedKey,
    credentialBlob: Uint8Array,
    secret: Uint8Array,
  ): Promise<Uint8Array> {
    const activate = async (session: number | undefined): Promise<Uint8Array> => {
      const { parameters } = await this.run(commands.activateCredential, {
        handles: [key, endorsementKey],
        sessions: [undefined, session],
        parameters: { credentialBlob, secret },
      });
      return parameters.credential;
    };
    if ((endorsementKey.publicArea.objectAttributes & ObjectAttribute.userWithAuth) !== 0)
      return activate(undefined);
    const session = await this.startPolicySession();
    return this.flushAfter(session.handle, async () => {
      await this.run(commands.policySecret, {
        handles: [Handle.endorsement, session.handle],
        parameters: {
          nonceTpm: session.nonceTpm,
          parameterHash: EMPTY,
          policyReference: EMPTY,
          expirationSeconds: 0,
        },
      });
      return activate(session.handle);
    });
  }

  /** Begins a policy session without salt or binding: it authorizes by what is asserted in it alone. */
  async startPolicySession(): Promise<{ readonly handle: number; readonly nonceTpm: Uint8Array }> {
    const { handle, parameters } = await this.run(commands.startAuthSession, {
      handles: [Handle.null, Handle.null],
      parameters: {
        nonceCaller: freshNonce(),
        encryptedSalt: EMPTY,
        type: SessionType.policy,
        symmetric: { algorithm: Algorithm.null },
        hash: SESSION_HASH.algorithm,
      },
    });
    return { handle, nonceTpm: parameters.nonceTpm };
  }

  /**
   * Does work under a session that only this program and the TPM that holds the key know: every command of the TPM
   * that the work is given is authenticated in both directions, and what is secret in it is encrypted (TA-20).
   *
   * @param key needed only until the session has begun
   * @throws RefusalError `tpm-session-*`, `tpm-slots-full`, and those of `work`
   */
  async withSaltedSession<T>(key: SaltKey, work: (tpm: Tpm) => Promise<T>): Promise<T> {
    const session = await this.startSaltedSession(key);
    try {
      return await this.flushAfter(session.handle, () => work(new Tpm(this.channel, session)));
    } finally {
      session.close();
    }
  }

  private async startSaltedSession(key: SaltKey): Promise<SaltedSession> {
    const { seed: salt, encryptedSecret: encryptedSalt } = await key.shareSalt();
    const nonceCaller = freshNonce();
    const starting = this.run(commands.startAuthSession, {
      handles: [key.handle, Handle.null],
      parameters: {
        nonceCaller,
        encryptedSalt,
        type: SessionType.hmac,
        symmetric: SESSION_CIPHER,
        hash: SESSION_HASH.algorithm,
      },
    });
    const { handle, parameters } = await starting.catch((error: unknown) => {
      throw saltRefused(error);
    });
    return new SaltedSession({ handle, salt, nonceCaller, nonceTpm: parameters.nonceTpm });
  }

  /**
   * Reads PCRs so that all values stand for one moment: when the TPM's update counter moved between two reads, all
   * are read again.
   *
   * @throws RefusalError `tpm-bank-missing`, `tpm-pcrs-unstable`
   */
  async readPcrs(selection: PcrSelectionList): Promise<readonly PcrValue[]> {
    for (let reading = 0; reading < MAX_PCR_READINGS; reading += 1) {
      const values = await this.readPcrsOnce(selection);
      if (values !== undefined) return values;
    }
    throw tpmStateRefusals.error('tpm-pcrs-unstable', {
      field: 'pcrs',
      expected: 'one moment without an extension',
      found: `extensions during ${MAX_PCR_READINGS} readings`,
    });
  }

  private async readPcrsOnce(selection: PcrSelectionList): Promise<readonly PcrValue[] | undefined> {
    const values: PcrValue[] = [];
    let counter: number | undefined;
    for (let left = selection; left.length > 0; left = withoutPcrs(left, values)) {
      const { parameters } = await this.run(commands.pcrRead, {
        handles: [],
        parameters: { selection: left },
      });
      if (counter !== undefined && parameters.updateCounter !== counter) return undefined;
      counter = parameters.updateCounter;
      values.push(...this.pairValues(left, parameters));
    }
    return values;
  }

  /** Joins the returned values with the PCRs that they belong to; only PCRs that were asked for may come back. */
  private pairValues(
    wanted: PcrSelectionList,
    answer: { readonly selection: PcrSelectionList; readonly values: readonly Uint8Array[] },
  ): PcrValue[] {
    const returned = selectedPcrs(answer.selection);
    if (returned.length === 0) throw missingBank(wanted);
    const asked = new Set(selectedPcrs(wanted).map(({ hash, pcr }) => `${hash}/${pcr}`));
    const known = returned.every(({ hash, pcr }) => asked.has(`${hash}/${pcr}`));
    if (!known || returned.length !== answer.values.length) throw this.otherAnswer(commands.pcrRead.name);
    return answer.values.flatMap((value, i) => {
      const place = returned[i];
      return place === undefined ? [] : [{ ...place, value }];
    });
  }

  /** Extends one PCR in the SHA-256 bank. */
  async extendPcr(pcr: number, digest: Uint8Array): Promise<void> {
    await this.extendPcrBanks(pcr, [{ hash: Algorithm.sha256, digest }]);
  }

  /** Extends one PCR in several banks at once, each with a digest of its own. */
  async extendPcrBanks(
    pcr: number,
    digests: readonly { readonly hash: number; readonly digest: Uint8Array }[],
  ): Promise<void> {
    await this.run(commands.pcrExtend, { handles: [pcr], parameters: { digests } });
  }

  /**
   * Has a loaded key sign the PCRs together with the caller's data.
   *
   * @param qualifyingData at most one digest of the TPM's largest hash
   * @returns TPMS_ATTEST as signed, and the signature
   */
  async quote(
    key: LoadedKey,
    qualifyingData: Uint8Array,
    selection: PcrSelectionList,
  ): Promise<{ readonly attest: Uint8Array; readonly signature: Signature }> {
    const { parameters } = await this.run(commands.quote, {
      handles: [key],
      parameters: { qualifyingData, scheme: Algorithm.null, selection },
    });
    return parameters;
  }

  async clock(): Promise<ClockReading> {
    const { parameters } = await this.run(commands.readClock, { handles: [], parameters: {} });
    return parameters;
  }

  /** Tells the TPM that the machine is about to stop, so that its clock stays safe. */
  async shutdown(): Promise<void> {
    await this.run(commands.shutdown, { handles: [], parameters: { type: STATE_CLEAR } });
  }

  /** Begins after a reset what firmware begins on a real machine. */
  async startup(): Promise<void> {
    await this.run(commands.startup, { handles: [], parameters: { type: STATE_CLEAR } });
  }

  async flush(handle: number): Promise<void> {
    await this.run(commands.flushContext, { handles: [], parameters: { handle } });
  }

  /** Does the work and unloads the handle, whatever the outcome; a failure of the work is the one that is reported. */
  async flushAfter<T>(handle: number, work: () => Promise<T>): Promise<T> {
    let result: T;
    try {
      result = await work();
    } catch (error) {
      await this.flush(handle).catch(() => undefined);
      throw error;
    }
    await this.flush(handle);
    return result;
  }

  private async capability(
    capability: number,
    property: number,
    count: number,
  ): Promise<ValueOf<typeof commands.getCapability.response>['data']> {
    const { parameters } = await this.run(commands.getCapability, {
      handles: [],
      parameters: { capability, property, count },
    });
    return parameters.data;
  }

  /**
   * Sends a command, again when the TPM asks for it, and reads its response.
   *
   * @throws RefusalError of {@link CommandChannel.run}
   */
  run<P, R>(command: Command<P, R>, invocation: Invocation<P>): Promise<Reply<R>> {
    return this.channel.run(command, invocation, this.session);
  }

  private otherAnswer(field: string): Error {
    return tpmContentRefusals.error('tpm-answer-malformed', {
      field,
      expected: 'an answer to what was asked',
      found: 'another one',
    });
  }
}

/** The only thing in the start of a session that a TPM can object to is a salt that its key does not decrypt. */
function saltRefused(error: unknown): unknown {
  if (!isRefusal(error) || error.refusal.code !== 'tpm-response') return error;
  const { field, found } = error.refusal;
  const facts = { field, expected: 'a TPM that holds the salt key', found };
  return tpmSessionRefusals.error('tpm-session-key', facts, { cause: error });
}

function missingBank(wanted: PcrSelectionList): Error {
  const text = wanted.map(({ hash, select }) => `0x${hash.toString(16)}:${toHex(select)}`).join(' ');
  return tpmAnswerRefusals.error('tpm-bank-missing', {
    field: 'pcrs',
    expected: `values of the PCRs ${text}`,
    found: 'none',
  });
}
