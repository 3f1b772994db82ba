# One route for each thing that a Rack server can get wrong. The route is PATH_INFO, its argument QUERY_STRING.

# What the loader needs of the libraries must not be there before the application asks for it.
LOADED_BEFORE = $LOADED_FEATURES.grep(%r{/(json|stringio|socket|io/wait|tempfile|set|logger|bundler)\b}).map { |file| File.basename(file) }
TOP_LOCALS = TOPLEVEL_BINDING.local_variables.map(&:to_s) - %w[_]

require 'uri' # Rack::Lint wants it

TEXT = { 'content-type' => 'text/plain' }.freeze
EVENTS = []

PhusionPassenger.on_event(:starting_worker_process) { |forked| EVENTS << "starting_worker_process(#{forked})" }
PhusionPassenger.on_event(:after_installing_signal_handlers) { EVENTS << 'after_installing_signal_handlers' }
PhusionPassenger.on_event(:starting_request_handler_thread) { EVENTS << 'starting_request_handler_thread' }
PhusionPassenger.on_event(:stopping_worker_process) { puts 'stopping_worker_process' }
at_exit { puts 'at_exit ran' }

# A body that counts the calls of its close().
class Blocks
  @closed = 0
  class << self
    attr_accessor :closed
  end

  def initialize(*blocks, fail_close: false)
    @blocks = blocks
    @fail_close = fail_close
  end

  def each
    @blocks.each { |block| yield block.respond_to?(:call) ? block.call : block }
  end

  def close
    Blocks.closed += 1
    raise 'close() failed' if @fail_close
  end
end

class Endless < Blocks
  def each
    loop { yield 'x' * 10_000 }
  end
end

# One that has an Array, as Rack 3 says.
class Listed < Blocks
  def to_ary
    @blocks
  end
end

# One that only seems to have an Array, as Rack::BodyProxy and Rails have them.
class Unlisted < Blocks
  def to_ary; end
end

# One that names a file.
class Named < Blocks
  attr_accessor :to_path
end

# A streaming body of Rack 3.
class Streaming
  def initialize(&block)
    @block = block
  end

  def call(stream)
    @block.call(stream)
  end

  def close
    Blocks.closed += 1
  end
end

def ok(*blocks)
  [200, TEXT.dup, blocks]
end

def open_descriptors
  Dir.children('/proc/self/fd').map(&:to_i).select { |fd| fd > 2 && File.exist?("/proc/self/fd/#{fd}") }
end

def inheritable(fd)
  flags = File.read("/proc/self/fdinfo/#{fd}")[/^flags:\s*(\d+)/, 1].to_i(8)
  flags & 0o2000000 == 0
rescue Errno::ENOENT
  false
end

# A signal interrupts open() in Ruby.
def read_fifo(path)
  File.open(path, &:read)
rescue Errno::EINTR
  retry
end

def reads(input, how)
  case how
  when 'lines' then [input.gets, input.gets, input.gets, input.gets, input.gets]
  when 'each' then [].tap { |lines| input.each { |line| lines << line } }
  when 'some' then [input.read(3), input.read(0), input.read(100_000_000), input.read(5), input.read]
  when 'none' then [input.read, input.read(10), input.gets, [].tap { |lines| input.each { |line| lines << line } }]
  when 'buffer'
    buffer = 'was there'.dup
    [input.read(2, buffer).equal?(buffer), buffer.dup, input.read(100, buffer).dup, buffer.dup, input.read(1, buffer), buffer]
  when 'rewind'
    first = input.read(4)
    input.rewind
    again = input.read
    input.rewind
    [first, again.size, input.read == again, input.read(1)]
  when 'count'
    count = 0
    while (block = input.read(10_000))
      count += block.bytesize
    end
    count
  when 'copied'
    require 'tempfile'
    Tempfile.create('copied') { |file| [IO.copy_stream(input, file), file.size] }
  else 'unread'
  end
end

def fork_in(how)
  case how
  when 'block' then Process.wait(fork { puts 'in a child' })
  when 'return'
    pid = fork
    Process.wait(pid) if pid
  when 'raise'
    pid = fork or raise 'in a child'
    Process.wait(pid)
  when 'exit'
    pid = fork or exit(3)
    Process.wait(pid)
    return ok($?.exitstatus.to_s)
  when 'system' then return ok(`echo from a shell`)
  when 'terminate'
    Process.kill('TERM', pid = fork { sleep })
    Process.wait(pid)
    return ok($?.termsig.to_s)
  when 'stays' then return ok(fork { sleep }.to_s)
  end
  ok("hello world\n")
end

def fails(where)
  case where
  when 'call' then raise 'secret detail'
  when 'exit' then exit 3
  when 'interrupt' then raise Interrupt
  when 'throw' then throw :nobody
  when 'stack' then fails('stack')
  when 'first' then [200, TEXT, Blocks.new(-> { raise 'secret detail' })]
  when 'middle' then [200, TEXT, Blocks.new('begun', -> { raise 'secret detail' })]
  when 'close' then [200, TEXT, Blocks.new('x', fail_close: true)]
  end
end

# Query: declared length, then the blocks.
def declared(query, kind = Blocks)
  length, *blocks = query.split(',')
  [200, TEXT.merge('content-length' => length), kind == Array ? blocks : kind.new(*blocks)]
end

WRONG = {
  'return' => "a\rset-cookie: b", 'nul' => "a\0b", 'escape' => "\e[1m", 'wide' => 'wide'.encode('UTF-16LE')
}.freeze

def headers(kind)
  return [200, { 'x-a' => WRONG[kind] }, []] if WRONG.key?(kind)
  case kind
  when 'name' then [200, { 'x a' => 'b' }, []]
  when 'colon' then [200, { 'x:a' => 'b' }, []]
  when 'line' then [200, { "x-a\n" => 'b' }, []]
  when 'empty' then [200, { '' => 'b' }, []]
  when 'length' then [200, { 'content-length' => '1x' }, ['a']]
  when 'nil' then [200, nil, []]
  end
end

RESULTS = {
  'nil' => nil, 'string' => 'text', 'two' => [200, TEXT], 'body' => [200, TEXT, 'text'], 'nobody' => [200, TEXT, nil], 'blocks' => [200, TEXT, ['a', 1]],
  'symbol' => [200, TEXT, Blocks.new(:a)]
}.freeze

def hijack(env, how)
  case how
  when 'full'
    io = env['rack.hijack'].call
    same = env['rack.hijack_io'].equal?(io)
    Thread.new do
      io.write("HTTP/1.1 200 \r\nContent-Length: 8\r\n\r\nhijacked")
      io.write("#{same} #{io.gets}")
      io.close
    end
    [500, {}, Blocks.new('nobody sees this')]
  when 'late'
    callable = env['rack.hijack']
    Thread.new do
      read_fifo(env['HTTP_X_FIFO'])
      begin
        callable.call
      rescue IOError => error
        puts "refused: #{error.message}"
      end
    end
    ok('too late')
  when 'partial'
    writer = lambda do |io|
      io.write('raw bytes ')
      io.write("until the end\n")
      io.close
    end
    [200, TEXT.merge('rack.hijack' => writer), Blocks.new('nobody sees this')]
  when 'raise'
    [200, TEXT.merge('rack.hijack' => ->(_) { raise 'in a hijack' }), []]
  when 'upgrade'
    writer = lambda do |io|
      io.write("echo: #{io.gets}")
      io.close
    end
    [101, { 'Connection' => 'upgrade', 'Upgrade' => 'echo', 'rack.hijack' => writer }, []]
  when '101' then [101, {}, []]
  end
end

def stream(env, how)
  case how
  when 'plain'
    Streaming.new do |stream|
      stream.write('written ', 'and ')
      stream << 'appended '
      stream.flush
      stream.write(env['rack.input'].read)
      stream.close
    end
  when 'read'
    Streaming.new do |stream|
      stream.write(stream.read(3), '|', stream.read)
      stream.close
      stream.close
    end
  when 'thread'
    Streaming.new do |stream|
      stream << 'first '
      Thread.new do
        read_fifo(env['HTTP_X_FIFO'])
        stream << 'second'
        stream.close
      end
    end
  when 'raise' then Streaming.new { |stream| stream << 'begun'; raise 'in a stream' }
  when 'closed'
    Streaming.new do |stream|
      stream << 'all'
      stream.close
      begin
        stream << 'more'
      rescue IOError
        puts "closed: #{stream.closed?}"
      end
    end
  end
end

def show(env)
  ok(env.reject { |_, value| value.respond_to?(:read) || value.respond_to?(:call) || value.respond_to?(:write) }
    .sort.map { |pair| "#{pair[0]}=#{pair[1].inspect}\n" }.join)
end

def process
  facts = {
    before: LOADED_BEFORE, locals: TOP_LOCALS, program: $PROGRAM_NAME, stdin: STDIN.read, cwd: Dir.pwd, inheritable: open_descriptors.select { |fd| inheritable(fd) },
    int: trap('INT') { nil }.class, hup: trap('HUP') { nil }.class, usr1: trap('USR1', 'DEFAULT'), sync: [$stdout.sync, $stderr.sync],
    main: Object.new.singleton_class.ancestors.include?(PhusionPassenger), file: __FILE__, events: EVENTS, thread: Thread.current == Thread.main,
    methods: self.class.private_instance_methods(false).include?(:say), version: PhusionPassenger::VERSION_STRING.to_i,
    options: PhusionPassenger::App.options["app_group_name"]
  }
  ok(facts.map { |name, value| "#{name}=#{value.inspect}\n" }.join)
end

def files(env, how)
  named = Named.new('from each')
  named.to_path = "#{__dir__}/file.txt"
  headers = TEXT.dup
  case how
  when 'missing' then named.to_path = '/nowhere'
  when 'folder' then named.to_path = __dir__
  when /\A\d+\z/ then headers['content-length'] = how
  end
  [200, headers, named]
end

LINTED = defined?(Rack::Lint) && Rack::Lint.new(lambda do |env|
  body = env['rack.input'].read
  env['rack.errors'].puts 'linted'
  [200, { 'Content-Type' => 'text/plain', 'Set-Cookie' => "a=1\nb=2" }, ["#{env['REQUEST_METHOD']} ", body]]
end)
$after = []

run(lambda do |env|
  query = env['QUERY_STRING']
  case env['PATH_INFO']
  when '/hello' then ok("hello world\n")
  when '/show' then show(env)
  when '/process' then process
  when '/echo' then ok(env['rack.input'].read)
  when '/reads' then ok(reads(env['rack.input'], query).inspect)
  when '/kept_input' then ($input ||= []) << env['rack.input']; ok($input.first.read.to_s)
  when '/linted' then LINTED.call(env)
  when '/blocks' then ok(*query.split(','))
  when '/bytes' then [200, { 'x-latin' => "caf\xe9".b, 'x-utf' => 'naïve' }, ["caf\xe9".b, ' naïve', ' déjà'.encode('ISO-8859-1')]]
  when '/big' then ok('x' * query.to_i)
  when '/closing' then [200, TEXT, Blocks.new('a', '', 'b')]
  when '/nothing' then [200, TEXT, Blocks.new]
  when '/listed' then [200, TEXT, Listed.new('a', 'b')]
  when '/unlisted' then [200, TEXT, Unlisted.new('a', 'b')]
  when '/many' then ok(*(['ab'] * 2000))
  when '/closes' then ok(Blocks.closed.to_s)
  when '/status' then [query.match?(/\A\d+\z/) ? query.to_i : query, TEXT, Blocks.new('body')]
  when '/good_headers'
    [200, { 'x-one' => 'a', 'x-many' => %w[b c], 'set-cookie' => "d=1\ne=2", 'x-tab' => "a\tb", 'x-empty' => '', 'x-number' => 5, 'connection' => 'close',
            'status' => '404', 'rack.secret' => 'x', 'upgrade' => 'h3' }, ['fine']]
  when '/coded' then [200, TEXT.merge('transfer-encoding' => 'chunked'), Blocks.new("3\r\nabc\r\n", "0\r\n\r\n")]
  when '/headers' then headers(query)
  when '/result' then RESULTS[query]
  when '/declared' then declared(query)
  when '/declared_list' then declared(query, Array)
  when '/fails' then fails(query)
  when '/endless' then [200, TEXT, Endless.new]
  when '/steps' then [200, TEXT, Blocks.new("first\n", '', -> { read_fifo(query); "second\n" })]
  when '/waits' then puts 'waiting for the fifo'; ok("finished #{read_fifo(query)}").tap { puts 'was let go' }
  when '/spins' then Thread.new { read_fifo(query) }; ok('spinning')
  when '/forks' then fork_in(query)
  when '/hijack' then hijack(env, query)
  when '/stream' then [200, TEXT, stream(env, query)]
  when '/file' then files(env, query)
  when '/prints'
    puts 'a line'
    $stderr.puts 'errors'
    print 'no newline'
    puts
    ok("hello world\n")
  when '/print_much' then 200.times { puts 'x' * 10_000 }; ok("hello world\n")
  when '/after'
    env['rack.after_reply'] << -> { $after << 'replied' } << -> { raise 'after the reply' }
    env['rack.response_finished']&.push(->(_, status, headers, error) { $after << [status, (headers || {})['content-type'], error.class] }, ->(*) { $after << 'last' })
    raise 'no response' if query == 'raise'
    ok('x')
  when '/after_said' then ok($after.inspect).tap { $after = [] }
  when '/internal' then Encoding.default_internal = query.empty? ? nil : query; ok("hello world\n")
  when '/reopens' then $stderr.reopen('/dev/null'); $stdout.reopen('/dev/null'); ok('x')
  when '/together'
    Thread.current[:seen] = true
    ($gate ||= Queue.new) << true
    sleep 0.01 until $gate.size >= query.to_i
    ok(env['rack.multithread'].to_s)
  else [404, TEXT, []]
  end
end)
