/** A key-release server in this process, with a lab, a model in phase research and a TPM that may be enrolled. */

import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, onTestFinished } from 'vitest';

import { toBase64 } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import type { KeyReleaseOptions } from '../../src/agent/key-release.ts';
import { decodeEntry, type LogEntry } from '../../src/governance/entries.ts';
import type { PredicateName } from '../../src/governance/predicates.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { encodeEnvelope } from '../../src/platform/dsse.ts';
import type { Ed25519Signer } from '../../src/platform/ed25519.ts';
import { createHttpClient, type HttpClient } from '../../src/platform/http-client.ts';
import { createLogger } from '../../src/platform/logging.ts';
import type { ServerProfile } from '../../src/platform/server-profile.ts';
import { openServerHome, type ServerHome } from '../../src/server/home.ts';
import { createServerHome, type HomeIdentity, type NewHome } from '../../src/server/new-home.ts';
import { startServer, type RunningServer } from '../../src/server/serve.ts';
import { makeEnrollableTpm, type EnrollableTpm } from './enrolled-tpm.ts';
import { examplePredicates, exampleTrustRoot, predicateOf, signerOf, signers } from './governance.ts';
import { PCRS } from './software-attester.ts';
import { temporaryFolder } from './temporary-folder.ts';

export const ORIGIN = 'release.example/evaluation';
export const PASSPHRASE = 'correct horse battery staple';
export const MODEL_KEY = new Uint8Array(32).map((_byte, i) => 200 + (i % 50));
const { inferencePolicyDigest } = examplePredicates.model;
export const { manifestDigest } = examplePredicates.model;
export const SUBJECT = { manifestDigest, inferencePolicyDigest, renews: null };

/** A clock that a test turns. It begins with the real time, for the sake of the TLS certificates. */
export class TestClock implements Clock {
  private offsetSeconds = 0;
  /** By how much somebody set the wall clock. */
  private wallSeconds = 0;
  readonly start = Math.floor(Date.now() / 1000);

  posixSeconds(): number {
    return this.start + this.offsetSeconds + this.wallSeconds;
  }

  monotonicMilliseconds(): number {
    return performance.now() + this.offsetSeconds * 1000;
  }

  advance(seconds: number): void {
    this.offsetSeconds += seconds;
  }

  /** Sets the wall clock, and no other. */
  setWall(bySeconds: number): void {
    this.wallSeconds += bySeconds;
  }
}

export function newHome(path: string, clock: Clock, changes: Partial<NewHome> = {}): NewHome {
  return {
    path,
    mode: 'evaluation',
    origin: ORIGIN,
    trustRoot: exampleTrustRoot('evaluation'),
    listen: { host: '127.0.0.1', port: 0 },
    names: [],
    passphrase: PASSPHRASE,
    clock,
    ...changes,
  };
}

/** Anything that can stand between a home and the server that runs on it, to break it on purpose. */
export type HomeChange = (home: ServerHome) => ServerHome | Promise<ServerHome>;

let readyHome: Promise<{ readonly path: string; readonly identity: HomeIdentity }> | undefined;
let readyFolder: string | undefined;

afterAll(async () => {
  if (readyFolder !== undefined) await rm(readyFolder, { recursive: true, force: true });
});

export class TestServer {
  readonly path: string;
  readonly clock: TestClock;
  readonly identity: HomeIdentity;
  readonly tpm: EnrollableTpm;
  home!: ServerHome;
  running!: RunningServer;
  client!: HttpClient;

  private constructor(path: string, clock: TestClock, identity: HomeIdentity, tpm: EnrollableTpm) {
    this.path = path;
    this.clock = clock;
    this.identity = identity;
    this.tpm = tpm;
  }

  /** A home whose log has its genesis entry only. */
  static async create(): Promise<TestServer> {
    const path = join(await temporaryFolder(), 'home');
    const clock = new TestClock();
    const identity = await createServerHome(newHome(path, clock));
    const tpm = await makeEnrollableTpm();
    await writeFile(join(path, 'anchors/simulated/tpm/vendor.pem'), tpm.vendorCertificate);
    return await TestServer.run(path, clock, identity, tpm);
  }

  /** A server that grants: everything stated, the model key stored, the TPM not yet enrolled. */
  static async createReady(): Promise<TestServer> {
    readyHome ??= TestServer.prepare();
    const ready = await readyHome;
    const path = join(await temporaryFolder(), 'home');
    await cp(ready.path, path, { recursive: true });
    return await TestServer.run(path, new TestClock(), ready.identity, await makeEnrollableTpm());
  }

  static async run(
    path: string,
    clock: TestClock,
    identity: HomeIdentity,
    tpm: EnrollableTpm,
  ): Promise<TestServer> {
    const server = new TestServer(path, clock, identity, tpm);
    await server.start();
    onTestFinished(() => server.stop());
    return server;
  }

  /** Making keys and stretching passphrases is slow: all tests of a file begin with copies of one home. */
  private static async prepare(): Promise<{ readonly path: string; readonly identity: HomeIdentity }> {
    readyFolder = await mkdtemp(join(tmpdir(), 'weightgate-ready-'));
    const path = join(readyFolder, 'home');
    const clock = new TestClock();
    const identity = await createServerHome(newHome(path, clock));
    const tpm = await makeEnrollableTpm();
    await writeFile(join(path, 'anchors/simulated/tpm/vendor.pem'), tpm.vendorCertificate);
    const server = new TestServer(path, clock, identity, tpm);
    await server.start();
    await server.stateAll();
    await server.home.modelKeys.put(manifestDigest, MODEL_KEY);
    await server.stop();
    return { path, identity };
  }

  /** What a server must have been told before it grants. */
  async stateAll(): Promise<void> {
    const { accreditation, model, releasePolicy, toResearch, referenceValues } = examplePredicates;
    const { software, endorsementKeyDigest } = this.tpm;
    const machines = [{ name: 'rack-1', endorsementKeyDigest }];
    const endsAt = this.clock.start + 1_000_000;
    await this.state('lab-accreditation/v1', { ...accreditation, machines, endsAt });
    await this.state('model-version/v1', model);
    await this.state('release-policy/v1', {
      ...releasePolicy,
      tpm: { ...releasePolicy.tpm, pcrs: [...PCRS] },
    });
    const [values] = software.inputs.referenceValues;
    await this.state('reference-values/v1', { ...referenceValues, values });
    await this.state('promotion/v1', toResearch);
  }

  async start(change: HomeChange = (home) => home): Promise<void> {
    this.home = await change(await openServerHome(this.path, PASSPHRASE, this.clock));
    this.running = await startServer(this.home, createLogger('silent'), this.clock);
    this.client = createHttpClient({
      address: this.running.address,
      authorityCertificate: this.identity.authorityCertificate,
      timeoutMilliseconds: 10_000,
    });
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.running.close();
  }

  async restart(change?: HomeChange): Promise<void> {
    await this.stop();
    await this.start(change);
  }

  /** Has each of the signers send the statement, in their order. */
  async state(
    name: PredicateName,
    predicate: unknown,
    by: readonly Ed25519Signer[] = [signers.anna, signers.bert],
  ): Promise<readonly JsonValue[]> {
    const answers: JsonValue[] = [];
    for (const envelope of await signByEach(makeStatement(name, predicateOf(name, predicate)), by)) {
      const document = decodeCanonicalJson(encodeEnvelope(envelope), { maxBytes: 1 << 20 }, 'envelope');
      const body = encodeCanonicalJson({ version: 1, envelope: document });
      answers.push(await this.client.post('/v1/statements', body));
    }
    return answers;
  }

  /** What an agent of the lab needs. */
  agent(changes: Partial<KeyReleaseOptions> = {}): KeyReleaseOptions {
    const profile: ServerProfile = {
      version: 1,
      address: this.running.address,
      authorityCertificate: this.identity.authorityCertificate,
      origin: ORIGIN,
      mode: 'evaluation',
      logKey: this.identity.logKey,
      bundleSigners: [toBase64(signers.anna.publicKey)],
    };
    return {
      client: this.client,
      profile,
      lab: 'lab-one',
      labSigner: signerOf('lab one'),
      purpose: 'red-teaming',
      clock: this.clock,
      witnesses: 'not-required',
      ...changes,
    };
  }

  /** Every entry of the log. */
  async entries(): Promise<readonly LogEntry[]> {
    const { published } = this.home.log;
    return (await published.entries(0n, published.size)).map(decodeEntry);
  }

  /** The last entry of the log. */
  async lastEntry(): Promise<LogEntry> {
    return (await this.entries()).at(-1)!;
  }
}
