/**
 * The whole road for one test file: a TPM in software, a server and a sealed model in a folder of their own, made by
 * the commands that people type. Whatever runs here writes below that folder, its temporary files included.
 */

import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { toHex } from '../../attestation/core/bytes.ts';
import {
  enrol,
  logTrustOf,
  requestRelease,
  type KeyReleaseOptions,
  type ReleaseSubject,
} from '../../src/agent/key-release.ts';
import { TpmAttester } from '../../src/agent/tpm/attester.ts';
import { serverSource } from '../../src/audit/server-source.ts';
import { openBundleOf } from '../../src/cli/bundle.ts';
import { DemoMachine } from '../../src/cli/demo/machine.ts';
import { readInferencePolicyFile } from '../../src/cli/inference-policy.ts';
import { decodeEntry, type DecisionEntry } from '../../src/governance/entries.ts';
import { openSigningKey } from '../../src/keys/signing-key.ts';
import { auditLog } from '../../src/log/reader.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createHttpClient } from '../../src/platform/http-client.ts';
import { readServerProfile } from '../../src/platform/server-profile.ts';
import { makeMarkedModel } from './road-model.ts';
import { Program, type Outcome } from './road-program.ts';

const POLICIES = join(import.meta.dirname, '..', '..', 'policies');
const POLICY = join(POLICIES, 'inference', 'baseline.yaml');
const PASSPHRASE = 'only for the tests';

export const LAB = 'lab-a';
export const MODEL = 'harbour';
const PURPOSE = 'safety-evaluation';

/** What of an agent's command line differs from that of an honest lab. */
export interface AgentChanges {
  readonly profile?: string;
  readonly lab?: string;
  readonly key?: string;
  readonly purpose?: string;
  readonly tpm?: string;
}

export interface RoadOptions {
  /** Length of the leases; an hour unless it says otherwise. */
  readonly leaseSeconds?: number;
  /** Makes the model in a new folder and tells the pattern in it; the tiny model unless it says otherwise. */
  readonly makeModel?: (folder: string) => Promise<Uint8Array>;
}

export class Road {
  readonly folder: string;
  readonly leaseSeconds: number;
  private readonly makeModel: (folder: string) => Promise<Uint8Array>;
  private tpm: DemoMachine | undefined;
  server!: Program;
  /** The 32 bytes by which the weights are known wherever they turn up. */
  pattern!: Uint8Array;
  private readonly programs: Program[] = [];

  private constructor(folder: string, { leaseSeconds = 3600, makeModel = makeMarkedModel }: RoadOptions) {
    this.folder = folder;
    this.leaseSeconds = leaseSeconds;
    this.makeModel = makeModel;
  }

  static async build(options: RoadOptions = {}): Promise<Road> {
    const road = new Road(await mkdtemp(join(tmpdir(), 'weightgate-road-')), options);
    try {
      await road.prepare();
      await road.makeServer();
      await road.govern();
      return road;
    } catch (error) {
      await road.close();
      throw error;
    }
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  get machine(): DemoMachine {
    if (this.tpm === undefined) throw new Error('the machine of the road is not switched on yet');
    return this.tpm;
  }

  get profile(): string {
    return this.path('home/profile.json');
  }

  /** Runs a command of the program to its end. */
  run(...args: readonly string[]): Promise<Outcome> {
    return this.start(...args).ended;
  }

  /** Starts a command that goes on. */
  start(...args: readonly string[]): Program {
    const environment = {
      PATH: process.env['PATH'],
      HOME: this.path('user'),
      TMPDIR: this.path('tmp'),
      LC_ALL: 'C.UTF-8',
    };
    const program = new Program(args, environment, this.path('work'));
    this.programs.push(program);
    return program;
  }

  startAgent(changes: AgentChanges = {}): Program {
    const { profile = this.profile, lab = LAB, key = 'lab', purpose = PURPOSE } = changes;
    return this.start(
      ...['agent', 'run', this.path('bundle'), '--profile', profile, '--policy', POLICY],
      ...['--lab', lab, '--key', this.path(`${key}.key`), '--purpose', purpose],
      ...['--witness-policy', 'none'],
      ...['--tpm-event-log', this.machine.eventLog],
      ...['--tpm', changes.tpm ?? this.machine.address, '--listen', '127.0.0.1:0', ...this.passphrase],
    );
  }

  /** Starts the server on its home, where its address stands. */
  async startServer(): Promise<void> {
    this.server = this.start('serve', this.path('home'), ...this.passphrase);
    await this.server.line('serving ');
  }

  /** Signs a statement as these persons. */
  async state(persons: readonly string[], ...args: readonly string[]): Promise<void> {
    const keys = persons.flatMap((name) => ['--key', this.path(`${name}.key`)]);
    await this.succeed(...args, '--profile', this.profile, ...keys, ...this.passphrase);
  }

  async succeed(...args: readonly string[]): Promise<Outcome> {
    const outcome = await this.run(...args);
    if (outcome.exitCode !== 0) throw new Error(`${args.join(' ')}: ${outcome.lines.join('\n')}`);
    return outcome;
  }

  /** Does work as the lab would that wrote its own agent. */
  async asLab<T>(
    work: (options: KeyReleaseOptions, subject: ReleaseSubject) => Promise<T>,
    purpose = PURPOSE,
  ): Promise<T> {
    const profile = await readServerProfile(this.profile);
    const bundle = await openBundleOf(this.path('bundle'), this.profile);
    const policy = await readInferencePolicyFile(POLICY);
    const labSigner = await openSigningKey(this.path('lab.key'), PASSPHRASE);
    const client = createHttpClient(profile);
    try {
      return await work(
        { client, profile, lab: LAB, labSigner, purpose, clock: systemClock, witnesses: 'not-required' },
        {
          manifestDigest: bundle.manifest.digest,
          inferencePolicyDigest: toHex(policy.digest),
          renews: null,
        },
      );
    } finally {
      client.close();
    }
  }

  /** The decisions in the log, which is verified on the way. */
  async decisions(): Promise<readonly DecisionEntry[]> {
    const decisions: DecisionEntry[] = [];
    await this.asLab(async ({ client, profile }) => {
      await auditLog(serverSource(client), logTrustOf(profile), { minimumSize: 1n }, (bytes) => {
        const entry = decodeEntry(bytes);
        if (entry.type === 'decision') decisions.push(entry);
      });
    });
    return decisions;
  }

  /** The key of the sealed model, by an honest release to this process. */
  async releaseModelKey(): Promise<Uint8Array> {
    const attester = await TpmAttester.open(this.machine.address, {
      logs: { eventLog: this.machine.eventLog },
    });
    try {
      return await this.asLab(async (options, subject) => {
        await enrol(options, attester);
        return (await requestRelease(options, subject, [attester])).modelKey;
      });
    } finally {
      await attester.close();
    }
  }

  /** Ends whatever runs and removes the folder. */
  async close(): Promise<void> {
    await Promise.all(this.programs.filter(({ isRunning }) => isRunning).map((program) => program.stop()));
    await this.tpm?.[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }

  private get passphrase(): readonly string[] {
    return ['--passphrase-file', this.path('passphrase')];
  }

  private async prepare(): Promise<void> {
    for (const name of ['tmp', 'user', 'work']) await mkdir(this.path(name));
    await writeFile(this.path('passphrase'), `${PASSPHRASE}\n`, { mode: 0o600 });
    const keys = ['alice', 'bob', 'lab', 'stranger'];
    await allSettled(
      (async () => {
        this.tpm = await DemoMachine.switchOn(this.path('tpm'));
      })(),
      (async () => {
        this.pattern = await this.makeModel(this.path('model'));
      })(),
      ...keys.map((name) =>
        this.succeed('key', 'create', this.path(`${name}.key`), '--name', name, ...this.passphrase),
      ),
    );
  }

  private async makeServer(): Promise<void> {
    const persons = ['alice', 'bob'].flatMap((name) => ['--person', `${name}=${this.path(`${name}.key`)}`]);
    await this.succeed(
      ...['init', this.path('home'), '--mode', 'evaluation', '--origin', 'road.example/evaluation'],
      ...[...persons, '--organisation', 'Owner', '--listen', `127.0.0.1:${await findFreePort()}`],
      ...this.passphrase,
    );
    await this.machine.installAnchors(this.path('home/anchors'));
    await this.succeed(
      ...['seal', this.path('model'), '--out', this.path('bundle'), '--home', this.path('home')],
      ...['--key', this.path('alice.key'), '--name', MODEL, '--model-version', '1.0', ...this.passphrase],
    );
    await this.startServer();
  }

  private async govern(): Promise<void> {
    const quorum = ['alice', 'bob'];
    const [endorsementKey] = await Promise.all([this.endorsementKey(), this.writeReleaseSettings()]);
    const reference = this.path('reference.json');
    await this.succeed(
      ...['reference', 'record', '--tpm', this.machine.address, '--pcrs', '0,2,7', '--name', 'good'],
      ...['--boot', 'images,loader', '--tpm-event-log', this.machine.eventLog],
      ...['--source', 'the machine of the test', '--out', reference],
    );
    await Promise.all([
      this.state(quorum, 'reference', 'publish', reference, '--name', 'good', '--epoch', '1'),
      this.state(quorum, ...['policy', 'publish', this.path('settings.yaml')], RELEASE_POLICY),
      this.state(
        quorum,
        ...['lab', 'accredit', LAB, '--organisation', 'Lab A', '--jurisdiction', 'CH'],
        ...['--lab-key', this.path('lab.key'), '--machine', `machine-1=${endorsementKey}`],
      ),
      this.state(quorum, 'model', 'register', this.path('bundle'), '--policy', POLICY),
    ]);
    const promotion = ['release', 'promote', this.path('bundle'), '--to', 'research', '--reason', 'review'];
    await this.state(quorum, ...promotion);
  }

  private async endorsementKey(): Promise<string> {
    const { lines } = await this.succeed('agent', 'identity', '--tpm', this.machine.address);
    return lines.find((line) => /^[0-9a-f]{64}$/.test(line)) ?? '';
  }

  private async writeReleaseSettings(): Promise<void> {
    const text = await readFile(join(POLICIES, 'release', 'settings.yaml'), 'utf8');
    const settings = text.replace(/^( {2}research: )\d+$/m, `$1${this.leaseSeconds}`);
    await writeFile(this.path('settings.yaml'), settings);
  }
}

const RELEASE_POLICY = join(POLICIES, 'release', 'research.cedar');

/** Waits for all work before the first failure of it is thrown, so that nothing goes on in a folder that is removed. */
async function allSettled(...works: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(works);
  await Promise.all(works);
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
