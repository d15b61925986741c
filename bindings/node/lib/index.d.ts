import { EventEmitter } from 'node:events';
import { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { AddressInfo } from 'node:net';

/** Options of the library by their names, as docs/options.md has them: `{ workers: 4, keepalive: '5s' }`. */
export interface Options {
  bind?: string | string[];
  [name: string]: string | number | boolean | readonly string[] | undefined;
}

/** Errors have the name of the library's result: 'GW_ERR_INVALID', 'GW_ERR_IO' ... */
export interface GatewayError extends Error {
  code: string;
}

/** The counters of a server or of all workers (gw_stats). */
export interface Stats {
  workers: number;
  requests: number;
  connections: number;
  in_flight: number;
  /** [2] counts the 2xx. */
  status: number[];
  [counter: string]: number | number[];
}

export class Server extends EventEmitter {
  constructor(options: Options, handler?: RequestListener);
  readonly listening: boolean;
  /** Set where `serve` returned it. */
  readonly isWorker?: true;
  /** A port, also as text, or a path, or what `bind` takes; missing: where the option `bind` says, or on any port. */
  listen(where?: number | string, host?: string, listening?: () => void): this;
  listen(where: number | string | undefined, listening: () => void): this;
  listen(where: { port?: number | string; host?: string; path?: string }, listening?: () => void): this;
  listen(listening: () => void): this;
  close(closed?: (error?: Error) => void): this;
  closeAllConnections(): void;
  closeIdleConnections(): void;
  address(): AddressInfo | string | null;
  addresses(): (AddressInfo | string)[];
  stats(): Stats;
  ref(): this;
  unref(): this;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What hooks of the arbiter are told; what there is depends on the hook. */
export interface HookDetails {
  pid?: number;
  slot?: number;
  generation?: number;
  exit_status?: number;
  cause?: number;
  pool?: string;
  failure?: string;
  now?: number;
  before?: number;
}

export type ArbiterHook = (details: HookDetails, arbiter: Arbiter) => void;
export type WorkerHook<Result = void> =
  (worker: { pid: number; slot: number; generation: number }, server: Server) => Result;

/** gunicorn's names (gw_hooks). */
export interface Hooks {
  on_starting?: ArbiterHook;
  when_ready?: ArbiterHook;
  pre_fork?: ArbiterHook;
  spawned?: ArbiterHook;
  worker_ready?: ArbiterHook;
  child_exit?: ArbiterHook;
  nworkers_changed?: ArbiterHook;
  on_reload?: ArbiterHook;
  reloaded?: ArbiterHook;
  on_exit?: ArbiterHook;
  pre_exec?: ArbiterHook;
  /** The worker serves when it is done, also with what it promised. */
  worker_init?: WorkerHook<void | Promise<void>>;
  /** Last in a worker that worker_init has not refused; nothing waits for a promise. */
  worker_exit?: WorkerHook;
}

/** Hooks are events, too, by the same names. */
export class Arbiter extends EventEmitter {
  private constructor();
  readonly isWorker: false;
  reload(): void;
  upgrade(): void;
  scale(workers: number): void;
  close(how?: { quick?: boolean }): void;
  stats(): Stats;
  address(): AddressInfo | string | null;
  addresses(): (AddressInfo | string)[];
}

export interface ServeOptions {
  bind?: string | string[];
  workers?: number;
  hooks?: Hooks;
  /** false: the process goes on when serving has ended. */
  exit?: boolean;
  /** false: signals are yours. */
  signals?: boolean;
  /** Any other option of the library. */
  [name: string]: Options[string] | Hooks;
}

export function createServer(handler?: RequestListener): Server;
export function createServer(options: Options, handler?: RequestListener): Server;

/** The arbiter in the process that was called, the worker in those that it starts. */
export function serve(handler: RequestListener, options?: ServeOptions): Arbiter | Server;

/** Aborted when the client leaves before its answer has ended. */
export function abortSignal(res: ServerResponse): AbortSignal;

/** The CGI variables of a request, until it is answered. */
export function environ(req: IncomingMessage): Record<string, string>;

export const options: Record<string, { kind: string; preset: string; help: string }>;
export const version: string;
export const isWorker: boolean;
