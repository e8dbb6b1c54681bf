/** An owner made with the program's own commands: two people, a lab, an evaluation server, sealed bundles. */

import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { PROJECT, startUntil, succeed, type RunningCommand } from './command-line.ts';

export const POLICY = join(PROJECT, 'policies', 'inference', 'baseline.yaml');
export const RELEASE_SETTINGS = join(PROJECT, 'policies', 'release', 'settings.yaml');
export const RELEASE_POLICY = join(PROJECT, 'policies', 'release', 'research.cedar');
export const ORIGIN = 'owner.example/log/evaluation';

const TINY_MODEL = join(PROJECT, 'scripts', 'tiny-model', 'main.ts');

/** Makes a GGUF file of random weights. */
export async function makeRandomModel(path: string, parameters: number): Promise<void> {
  const values = [TINY_MODEL, '--out', path, '--random', '--parameters', String(parameters)];
  await promisify(execFile)(process.execPath, values);
}

export class Owner implements AsyncDisposable {
  readonly folder: string;
  private server: RunningCommand | undefined;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Makes keys, the home `home` and the model folder `model`. */
  static async create(): Promise<Owner> {
    const owner = new Owner(await mkdtemp(join(tmpdir(), 'weightgate-owner-')));
    await writeFile(owner.path('passphrase'), 'only for a test\n', { mode: 0o600 });
    await mkdir(owner.path('model'));
    await Promise.all([
      makeRandomModel(owner.path('model/model.gguf'), 1_000_000),
      writeFile(owner.path('model/README.md'), 'A model of random weights.\n'),
      ...['alice', 'bob', 'lab-a'].map((name) =>
        succeed('key', 'create', owner.path(`${name}.key`), '--name', name, ...owner.passphrase),
      ),
    ]);
    await owner.init('home');
    return owner;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  get passphrase(): readonly string[] {
    return ['--passphrase-file', this.path('passphrase')];
  }

  get profile(): readonly string[] {
    return ['--profile', this.path('home/profile.json')];
  }

  /** Profile, both keys and the passphrase: what a statement of the quorum takes. */
  get signed(): readonly string[] {
    const keys = ['alice', 'bob'].flatMap((name) => ['--key', this.path(`${name}.key`)]);
    return [...this.profile, ...keys, ...this.passphrase];
  }

  get persons(): readonly string[] {
    return ['alice', 'bob'].flatMap((name) => ['--person', `${name}=${this.path(`${name}.key`)}`]);
  }

  async init(name: string): Promise<void> {
    await succeed(
      ...['init', this.path(name), '--mode', 'evaluation', '--origin', ORIGIN, ...this.persons],
      ...['--organisation', 'Owner', '--listen', `127.0.0.1:${await findFreePort()}`, ...this.passphrase],
    );
  }

  /** Arguments of `seal` less the output. */
  sealing(folder: string): readonly string[] {
    return [
      ...['seal', this.path(folder), '--home', this.path('home'), '--key', this.path('alice.key')],
      ...['--name', 'harbour', '--model-version', '1.0', ...this.passphrase],
    ];
  }

  async seal(folder: string, bundle: string): Promise<void> {
    await succeed(...this.sealing(folder), '--out', this.path(bundle));
  }

  async serve(): Promise<void> {
    this.server = await startUntil('serving ', 'serve', this.path('home'), ...this.passphrase);
  }

  /** @returns the exit code of the server */
  async stop(signal: NodeJS.Signals): Promise<number | undefined> {
    this.server?.child.kill(signal);
    return (await this.server?.outcome)?.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGTERM');
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
