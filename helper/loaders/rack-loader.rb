# frozen_string_literal: true

# Loads one Rack application and serves it to passenger-helper, as PROTOCOL.md beside this file says.
#
# Runs under Ruby 2.5 and newer. Until the application is loaded it uses nothing but what is built into the interpreter: a file
# of a gem that is loaded earlier than Bundler loads it stands in the way of the version that the application wants.

if (RUBY_VERSION.split('.').map { |part| part.to_i } <=> [2, 5]) < 0
  $stdout.write("!> Error\n\nRuby 2.5 or newer is needed; this is Ruby #{RUBY_VERSION}: set PassengerRuby to a newer one.\n")
  exit! 1
end

# What applications know of Passenger. It is read before they ask for it: no gem that has a file of the same name takes its place.
$LOAD_PATH.push("#{__dir__}/ruby")
require "#{__dir__}/ruby/phusion_passenger"
require "#{__dir__}/ruby/phusion_passenger/rack/out_of_band_gc"

module PhusionPassenger
  module RackLoader
    LISTENER = 3
    PID = Process.pid
    VERSION = '1.0'
    MAX_HEAD = 1 << 20          # bytes of the pairs of one request
    MAX_SKIP = 1 << 20          # unread bytes of a body that are worth reading to keep a connection
    HEAD_SECONDS = 30           # for the rest of a head that came in parts
    MEMORY = 1 << 20            # bytes of a body that is kept for rewind() before it goes to a file
    BLOCK = 1 << 18
    SEND_BUFFER = 208 << 10     # what Linux allows everybody; it takes twice as much, the double of what it takes otherwise (socket(7))
    MAX_PARTS = 512
    MAX_FRAMES = 100            # of an exception in the log
    EMPTY = ''.b.freeze
    OOB_WORK = '!OOB_WORK'      # a pair that only the helper can send
    FILE = "#{__FILE__}:"

    TOKEN = /\A[!#$%&'*+\-.^_`|~0-9A-Za-z]+\z/
    FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)/n
    CACHE_LIMIT = 1024
    NAMES = {}                  # header name -> 'Name: ', or a symbol where the header is not just one more line
    SPECIAL = {
      'content-length' => :length, 'transfer-encoding' => :coding, 'rack.hijack' => :hijack, 'status' => :none,
      'connection' => :hop, 'keep-alive' => :hop, 'proxy-connection' => :hop, 'te' => :hop, 'trailer' => :hop, 'upgrade' => :hop
    }.freeze

    # The other side of a connection went away in the middle of a request.
    class ClientGone < EOFError; end

    # What came in on a connection is no request.
    class Garbage < StandardError; end

    # Standard output and error. Nobody listening there is no reason to fail.
    module Output
      def write(*parts)
        super
      rescue Errno::EPIPE
        parts.inject(0) { |sum, part| sum + part.to_s.bytesize }
      end
    end

    # Ours: the application may close or replace $stderr.
    module Log
      FD = IO.for_fd(2, 'w', autoclose: false)

      class << self
        def write(text)
          FD.syswrite(text)
        rescue SystemCallError
          nil
        end

        def say(text)
          write("rack-loader: #{text}\n")
        end

        def exception(error)
          write(describe(error))
        end

        # An exception and its causes with the application's frames, without ours.
        def describe(error)
          text = +''
          seen = []
          while error && !seen.include?(error)
            seen << error
            trace = frames(error)
            text << (seen.size > 1 ? 'Cause: ' : '') << (trace.empty? ? '' : "#{trace.first}: ")
            text << "#{printable(error.message)} (#{error.class})\n"
            abridged(trace.drop(1)).each { |line| text << "\tfrom " << line << "\n" }
            error = error.cause
          end
          text
        end

        def frames(error)
          (error.backtrace || []).reject { |line| line.start_with?(FILE) }
        end

        def abridged(lines)
          return lines if lines.size <= MAX_FRAMES
          [*lines.first(MAX_FRAMES / 2), "... #{lines.size - MAX_FRAMES} levels ...", *lines.last(MAX_FRAMES / 2)]
        end

        def printable(text)
          text = text.to_s.dup.force_encoding(Encoding::UTF_8)
          text.valid_encoding? ? text : text.scrub('?')
        end
      end
    end

    # Requests

    # What is still to come of a request's body. `left` bytes of it are not received; nil: only the end of the stream tells.
    class Input
      def initialize(sock, first, left)
        @sock = sock
        @buffer = first
        @left = left
      end

      def read(length = nil, out = nil)
        raise ArgumentError, "negative length #{length} given" if length && length < 0
        data = length ? take(length) : take_all
        return data unless out
        out.replace(data || EMPTY)
        data && out
      end

      def gets
        from = 0
        until (at = @buffer.index("\n", from))
          from = @buffer.bytesize
          more = receive(8192)
          break unless more
          @buffer += more
        end
        at ? take(at + 1) : take(@buffer.bytesize + 1)
      end

      def each
        while (line = gets)
          yield line
        end
        self
      end

      # As of IO, so that IO.copy_stream works.
      def readpartial(length, out = nil)
        data = @buffer.empty? ? receive(length) : take([length, @buffer.bytesize].min)
        raise EOFError, 'end of file reached' unless data
        out ? out.replace(data) : data
      end

      def close
        @closed = true
        @buffer = EMPTY
      end

      # Lets no later read take the bytes of the next request. Returns the count of bytes that nobody read, or nil.
      def finish
        left = @left
        @left = 0
        @buffer = EMPTY
        left
      end

      private

      def take(length)
        return +'' if length == 0
        have = @buffer.bytesize
        if have >= length
          data = @buffer.byteslice(0, length)
          @buffer = @buffer.byteslice(length, have - length)
          return data
        end
        data = @buffer.dup
        @buffer = EMPTY
        while data.bytesize < length && (more = receive(length - data.bytesize))
          data = data.empty? ? more : data << more
        end
        data.empty? ? nil : data
      end

      def take_all
        data = @buffer.dup
        @buffer = EMPTY
        while (more = receive(BLOCK))
          data << more
        end
        data
      end

      def receive(length)
        return if @left == 0 || @closed
        want = [length, @left || length, BLOCK].min
        got = @sock.readpartial(want)
        @left -= got.bytesize if @left
        got
      rescue EOFError
        raise ClientGone, "the request body ended #{@left} bytes early" if @left
        @left = 0
        nil
      rescue SystemCallError => error
        raise ClientGone, "the request body cannot be read: #{error.message}"
      end
    end

    # A body that can be read again, as Rack before 3.0 wants it: what was read is kept in memory, or in a file without a name.
    class RewindableInput
      def initialize(source)
        @source = source
        @store = StringIO.new(''.b)
        @kept = 0
        @whole = false
      end

      def read(length = nil, out = nil)
        return read_on(length, out) if length && length > 0 && !@whole && @store.pos == @kept
        fill(length && @store.pos + length)
        out ? @store.read(length, out) : @store.read(length)
      end

      def readpartial(length, out = nil)
        fill(@store.pos + 1)
        out ? @store.readpartial(length, out) : @store.readpartial(length)
      end

      def rewind
        @store.rewind
      end

      def close; end

      %i[gets each each_line each_byte each_char readline readlines readchar readbyte getc getbyte ungetc ungetbyte eof eof? size
         length seek pos= pread].each do |name|
        define_method(name) do |*args, &block|
          fill(nil)
          result = @store.__send__(name == :length ? :size : name, *args, &block)
          result.equal?(@store) ? self : result
        end
      end

      def pos
        @store.pos
      end
      alias tell pos

      def binmode
        self
      end

      def external_encoding
        Encoding::BINARY
      end

      def finish
        @whole = true
        @source.finish
      end

      private

      # What nobody has read yet is handed out as it came. A piece cut out of the store would share its memory, and the next one that is kept would have
      # all of it copied.
      def read_on(length, out)
        data = @source.read(length)
        @whole = true unless data
        keep(data) if data
        @store.seek(@kept)
        return data unless out
        out.replace(data || EMPTY)
        data && out
      end

      # Fetches what is missing of the first `upto` bytes, or all.
      def fill(upto)
        until @whole || (upto && @kept >= upto)
          block = @source.read(upto ? [upto - @kept, BLOCK].min : BLOCK)
          return @whole = true unless block
          keep(block)
        end
      end

      def keep(block)
        move_to_file if @store.is_a?(StringIO) && @kept + block.bytesize > MEMORY
        pos = @store.pos
        @store.seek(0, IO::SEEK_END)
        @store.write(block)
        @store.seek(pos)
        @kept += block.bytesize
      end

      def move_to_file
        file = unnamed_file(ENV['TMPDIR'] || '/tmp')
        file.binmode
        file.write(@store.string)
        file.seek(@store.pos)
        @store = file
      end

      def unnamed_file(folder)
        File.open(folder, File::RDWR | File::TMPFILE, 0o600)
      rescue SystemCallError
        path = "#{folder}/rack-input.#{Process.pid}.#{rand(1 << 64).to_s(36)}"
        file = File.open(path, File::RDWR | File::CREAT | File::EXCL, 0o600)
        File.unlink(path)
        file
      end
    end

    # Responses

    # What a streaming body of Rack 3 writes to. It may outlive the call, as long as nobody closes it.
    class Stream
      def initialize(response, input)
        @response = response
        @input = input
        @lock = Mutex.new
        @closed = @outlives = false
      end

      # Says whether the stream is still open: then the connection is its own from now on, and ends with it.
      def outlive
        @lock.synchronize { @outlives = !@closed }
      end

      def write(*parts)
        raise IOError, 'closed stream' if @closed
        parts.inject(0) do |sum, part|
          part = part.to_s
          @response.write(part)
          sum + part.bytesize
        end
      end

      def <<(part)
        write(part)
        self
      end

      def print(*parts)
        write(*parts)
        nil
      end

      def read(*args)
        @input.read(*args)
      end

      def flush
        self
      end

      def close(*)
        @lock.synchronize do
          return if @closed
          @closed = true
        end
        @response.close_stream(@outlives)
        nil
      end
      alias close_write close

      def close_read; end

      def closed?
        @closed
      end
    end

    # The response to one request, and env['rack.hijack'] of that request.
    class Response
      class << self
        attr_accessor :closing    # for every response: this process is about to end
      end

      attr_reader :status, :headers, :body

      def initialize(link, env)
        @link = link
        @env = env
        @bare = env['REQUEST_METHOD'] == 'HEAD'
        @sent = @gone = @headless = false
        @length = @left = @coded = @hijack = @body = nil
      end

      # Full hijack: the connection belongs to the application from now on.
      def call
        raise IOError, 'the response has begun already' if @sent || @over
        @env['rack.hijack_io'] = @link.hijack
      end

      # env['rack.early_hints']: headers for the client before the response is there.
      def hint(headers)
        return if @sent || @over || @link.hijacked
        lines = +"HTTP/1.1 103 Early Hints\r\n"
        headers.each do |name, value|
          prefix = prefix_of(name)
          add(prefix, value, lines) unless prefix.is_a?(Symbol)
        end
        raise ArgumentError, "a control character in a header: #{lines.dump}" if lines.match?(FORBIDDEN)
        transmit(lines << "\r\n")
        nil
      end

      # Sends what the application returned. Says whether the connection may be used again.
      def finish(result)
        unless result.respond_to?(:to_a) && (parts = result.to_a).size >= 3
          raise TypeError, "the application returned #{result.class}, not an Array of status, headers and body"
        end
        @status, @headers, @body = parts
        return false if @link.hijacked
        build(@status, @headers)
        deliver(@body)
        complete
      end

      # After an exception: an error page, or a response that ends early. Says whether the connection may be used again.
      def fail(error)
        RackLoader.leave_child(error) if Process.pid != PID
        return false if @gone || error.is_a?(ClientGone)
        Log.say("an exception while serving #{@env['REQUEST_METHOD']} #{@env['SCRIPT_NAME']}#{@env['PATH_INFO']}:".dump[1..-2])
        Log.exception(error)
        return false if @sent || @link.hijacked
        @hijack = @coded = @length = @left = nil
        @headless = false
        @bare = @env['REQUEST_METHOD'] == 'HEAD'
        build(500, 'Content-Type' => 'text/plain')
        deliver(["Internal Server Error\n"])
        complete
      rescue ClientGone
        false
      end

      def over
        @over = true
      end

      # Sends a block of a body whose blocks come one by one.
      def write(block)
        raise TypeError, "the body has a block of class #{block.class}, not String" unless block.is_a?(String)
        return if block.empty?
        prelude = @sent ? EMPTY : open_head(nil)
        if @bare
          transmit(prelude) unless prelude.empty?
        elsif @coded
          transmit(prelude, block)
        elsif @left.nil?
          transmit("#{prelude}#{block.bytesize.to_s(16)}\r\n", block, "\r\n")
        else
          block = cut(block) if block.bytesize > @left
          @left -= block.bytesize
          transmit(prelude, block)
        end
      end

      # The end of a streaming body, which may come after its request.
      def close_stream(alone)
        transmit("0\r\n\r\n") if @left.nil? && !@coded
      rescue ClientGone
        nil
      ensure
        @link.close if alone
      end

      private

      def build(status, headers)
        code = status.to_i
        raise ArgumentError, "#{status.inspect} is no final status" unless (200..999).cover?(code) || code == 101
        raise TypeError, "the headers are of class #{headers.class}" unless headers.respond_to?(:each)
        @head = +"HTTP/1.1 #{code} \r\n"
        @upgraded = code == 101
        @bare = @headless = true if code == 204 || code == 304
        headers.each do |name, value|
          prefix = NAMES[name] || prefix_of(name)
          if prefix.is_a?(Symbol)
            special(prefix, name, value)
          else
            add(prefix, value)
          end
        end
        raise ArgumentError, "a control character in a header: #{@head.dump}" if @head.match?(FORBIDDEN)
      end

      def prefix_of(name)
        text = name.to_s
        raise ArgumentError, "#{name.inspect} is no header name" unless text.match?(TOKEN)
        lower = text.downcase
        prefix = SPECIAL[lower] || (lower.start_with?('rack.') ? :none : "#{text}: ".freeze)
        NAMES[name] = prefix if NAMES.size < CACHE_LIMIT
        prefix
      end

      # One line for each value: an Array as Rack 3 has it, or lines as Rack 2.
      def add(prefix, value, head = @head)
        if value.is_a?(Array)
          return value.each { |one| add(prefix, one, head) }
        end
        value = value.to_s
        value = value.b unless value.ascii_only?
        if value.include?("\n")
          value.split("\n").each { |one| head << prefix << one << "\r\n" }
        else
          head << prefix << value << "\r\n"
        end
      end

      def special(kind, name, value)
        case kind
        when :length
          text = value.to_s
          raise ArgumentError, "Content-Length is #{value.inspect}" unless text.match?(/\A\d{1,18}\z/)
          @length = text.to_i
        when :coding
          @coded = value.to_s
        when :hijack
          @hijack = value
        when :hop
          add("#{name}: ", value) if @upgraded
        end
      end

      # The whole head, framing included. `total` is the length of the body, where we know it without being told.
      def open_head(total)
        @sent = true
        head = @head
        if @headless || @upgraded
          nil
        elsif @coded
          head << 'Transfer-Encoding: ' << @coded << "\r\n"
        elsif @length || (total && !(@bare && total == 0))
          @length = @left = @length || total
          head << "Content-Length: #{@left}\r\n"
        elsif !@bare
          head << "Transfer-Encoding: chunked\r\n"
        end
        head << "Connection: close\r\n" if Response.closing && !@upgraded
        head << "\r\n"
      end

      def deliver(body)
        if @hijack
          give_away(@hijack)
        elsif @upgraded && (body.respond_to?(:each) || !body.respond_to?(:call))
          raise ArgumentError, 'status 101 without a streaming body or rack.hijack'
        elsif body.is_a?(Array)
          send_parts(body)
        elsif body.respond_to?(:to_path) && (file = open_file(body.to_path))
          send_file(file)
        elsif body.respond_to?(:to_ary) && (parts = body.to_ary).is_a?(Array)
          send_parts(parts)
        elsif body.respond_to?(:each)
          send_each(body)
        elsif body.respond_to?(:call)
          send_stream(body)
        else
          raise TypeError, "the body is of class #{body.class}, which has neither each nor call"
        end
      end

      def send_parts(parts)
        total = 0
        parts.each do |part|
          raise TypeError, "the body has a block of class #{part.class}, not String" unless part.is_a?(String)
          total += part.bytesize
        end
        if @bare
          transmit(open_head(total))
        elsif @coded || (@length && @length != total) || parts.size > MAX_PARTS
          transmit(open_head(total))
          parts.each { |part| write(part) }
        else
          head = open_head(total)
          @left = 0
          transmit(head, *parts)
        end
      end

      def send_each(body)
        return transmit(open_head(nil)) if @bare
        body.each { |block| write(block) }
        if !@sent
          transmit(open_head(0))
        elsif @left.nil? && !@coded
          transmit("0\r\n\r\n")
        end
      end

      def open_file(path)
        file = File.open(path, 'rb')
        return file if file.stat.file?
        file.close
        nil
      rescue SystemCallError
        nil
      end

      def send_file(file)
        size = file.size
        transmit(open_head(size))
        return if @bare
        return IO.copy_stream(file, @link.sock) if @coded
        say_cut if size > @left
        @left -= IO.copy_stream(file, @link.sock, @left)
      rescue Errno::EPIPE, Errno::ECONNRESET
        gone
      ensure
        file.close
      end

      # A streaming body of Rack 3. It may go on in a thread of the application; then the connection is closed when the stream is.
      def send_stream(body)
        return transmit(open_head(nil)) if @bare
        return give_away(body) if @upgraded
        stream = Stream.new(self, @env['rack.input'])
        transmit(open_head(nil))
        body.call(stream)
        @link.hijack if stream.outlive
      end

      # Partial hijack: we send the head, the application everything else, up to the end of the connection.
      def give_away(taker)
        @length = nil
        head = @head
        head << 'Transfer-Encoding: ' << @coded << "\r\n" if @coded
        head << (@upgraded ? "!~Holds-Thread: 1\r\n" : "Connection: close\r\n") # this one, as long as the application does not return
        @sent = true
        transmit(head << "\r\n")
        begin
          taker.call(@link.hijack)
        rescue Exception
          @link.close
          raise
        end
      end

      def cut(block)
        say_cut
        block.byteslice(0, @left)
      end

      def say_cut
        Log.say("the body is longer than its Content-Length of #{@length}: cut") unless @told
        @told = true
      end

      def transmit(*parts)
        RackLoader.leave_child if Process.pid != PID
        @link.sock.write(*parts)
      rescue Errno::EPIPE, Errno::ECONNRESET, IOError
        gone
      end

      def gone
        @gone = true
        raise ClientGone, 'the client went away'
      end

      def complete
        return false if @link.hijacked || @coded
        if @left && @left > 0 && !@bare
          Log.say("the body is #{@left} bytes shorter than its Content-Length of #{@length}")
          return false
        end
        !Response.closing
      end
    end

    # One connection of the core.
    class Link
      attr_reader :sock, :hijacked
      attr_accessor :rest, :skip

      def initialize(sock)
        @sock = sock
        @rest = EMPTY           # what came behind the request that is served
        @skip = 0               # bytes of a body that nobody wanted
        @hijacked = false
      end

      # Hands the connection over to the application, with what we read of it already.
      def hijack
        @hijacked = true
        @sock.ungetbyte(@rest) unless @rest.empty?
        @rest = EMPTY
        @sock
      end

      def close
        begin
          @sock.shutdown(Socket::SHUT_RDWR)     # also for a copy in a child that the application forked
        rescue SystemCallError, IOError
          nil
        end
        @sock.close
      end
    end

    # The server

    # Serves the requests that come in on the listener: one at a time, here, or several in threads.
    class Server
      HTTPS_ON = %w[on 1 true yes].freeze

      def initialize(application, control, threads, rack)
        @application = application
        @control = control
        @threads = threads
        @rack = rack
        @listener = UNIXServer.for_fd(LISTENER)
        @wakeup, @waker = IO.pipe
        @ends = [@listener, control, @wakeup]
        @links = {}.compare_by_identity     # socket -> Link
        @watched = @ends.dup
        @ready = Queue.new                  # with threads: connections on which something came
        @served = Queue.new                 # with threads: [connection, whether to keep it]
        @constants = {
          'rack.errors' => $stderr, 'rack.multithread' => threads > 1, 'rack.multiprocess' => true, 'rack.run_once' => false,
          'rack.hijack?' => true, 'rack.url_scheme' => 'http'
        }
        @constants['rack.version'] = defined?(::Rack::VERSION) ? ::Rack::VERSION : [1, 3] if rack < 3
      end

      def handle_signals
        previous = trap('TERM') do
          trap('TERM', 'SYSTEM_DEFAULT')    # the second one ends the process at once
          Process.kill('TERM', Process.pid) if Process.pid != PID
          Response.closing = true
          wake
        end
        trap('TERM', previous) unless previous == 'DEFAULT'
        server = self
        Process.singleton_class.prepend(Module.new do
          define_method(:_fork) do
            pid = super()
            server.forget if pid == 0
            pid
          end
        end) if Process.respond_to?(:_fork)
      end

      # In a child that the application forked: a connection that we close shall be closed.
      def forget
        (@links.keys + @ends + [@waker]).each do |io|
          io.close unless io.closed?
        end
      end

      # What fails after the response is logged, and no more.
      def quietly(what)
        yield
      rescue Exception => error
        RackLoader.leave_child(error) if Process.pid != PID
        Log.say("an exception in #{what}:")
        Log.exception(error)
      end

      def run
        workers = @threads > 1 ? Array.new(@threads) { Thread.new { work } } : []
        PhusionPassenger.call_event(:starting_request_handler_thread) if workers.empty?
        until Response.closing
          readable, = IO.select(@watched)
          readable.each { |io| (link = @links[io]) ? serve(link) : event(io) }
        end
        last_round(workers)
      end

      private

      def wake
        @waker.write_nonblock('.', exception: false)
      end

      def event(io)
        if io == @listener
          accept
        else
          bytes = io.read_nonblock(4096, exception: false)
          Response.closing = true if io == @control && bytes.nil?
          take_back
        end
      end

      def accept
        while (sock = @listener.accept_nonblock(exception: false)) != :wait_readable
          sock.setsockopt(:SOCKET, :SNDBUF, SEND_BUFFER)
          @links[sock] = Link.new(sock)
          @watched << sock
        end
      rescue Errno::ECONNABORTED, Errno::EINTR
        retry
      rescue SystemCallError => error
        Log.say("accept(): #{error.message}")
        raise if [Errno::EBADF, Errno::EINVAL, Errno::ENOTSOCK].include?(error.class)
        sleep 0.1
      end

      def serve(link)
        if @threads > 1
          @watched.delete(link.sock)
          @ready << link
        else
          settle(link, receive(link), true)
        end
      end

      # After a request: what becomes of its connection.
      def settle(link, keep, watched)
        if keep && !link.hijacked
          @watched << link.sock unless watched
          return
        end
        @watched.delete(link.sock) if watched
        @links.delete(link.sock)
        link.close unless link.hijacked
      end

      def work
        PhusionPassenger.call_event(:starting_request_handler_thread)
        while (link = @ready.pop)
          @served << [link, receive(link)]
          wake
        end
      end

      def take_back
        settle(*@served.pop, false) until @served.empty?
      end

      # Serves what was sent before we said that we leave.
      def last_round(workers)
        accept
        readable, = IO.select(@watched - @ends, nil, nil, 0)
        (readable || []).each { |sock| serve(@links[sock]) }
        workers.each { @ready << nil }
        workers.each { |worker| worker.join }
        take_back
        @links.values.each { |link| link.close }
        @listener.close
      end

      # Takes what came on a connection. Says whether to keep it.
      def receive(link)
        data = link.sock.read_nonblock(65_536, exception: false)
        return !data.nil? unless data.is_a?(String)
        if link.skip > 0
          unwanted = [link.skip, data.bytesize].min
          link.skip -= unwanted
          data = data.byteslice(unwanted, data.bytesize - unwanted)
        end
        keep = true
        while keep && !data.empty?
          keep = request(link, data)
          data = link.rest
        end
        keep
      rescue Garbage => problem
        Log.say("dropped a connection: #{problem.message}")
        false
      rescue SystemCallError, IOError
        false
      end

      # Serves the request that `data` begins. Says whether to keep the connection.
      def request(link, data)
        size = data.unpack('N').first
        data, size = rest_of_head(link, data) if size.nil? || size < 4 || data.bytesize < size + 4
        env = pairs(data.byteslice(4, size))
        raise Garbage, 'a request without REQUEST_METHOD' unless env.key?('REQUEST_METHOD')
        link.rest = data.bytesize == size + 4 ? EMPTY : data.byteslice(size + 4, data.bytesize - size - 4)
        return oob_work(link) if env.key?(OOB_WORK)
        env.update(@constants)
        input = env['rack.input'] = body(link, env)
        response = env['rack.hijack'] = Response.new(link, env)
        env['rack.early_hints'] = response.method(:hint) if env['HTTP_SEC_FETCH_MODE'] == 'navigate'
        env['HTTP_VERSION'] = env['SERVER_PROTOCOL'] if env.key?('SERVER_PROTOCOL')
        https = env['HTTPS']
        env['rack.url_scheme'] = 'https' if https && HTTPS_ON.include?(https.downcase)
        keep = call(env, response)
        link.hijacked || input.is_a?(StringIO) ? keep : skip(link, input) && keep
      end

      # What the application wants to do between requests. No client waits for it.
      def oob_work(link)
        quietly('oob_work') { PhusionPassenger.call_event(:oob_work) }
        RackLoader.leave_child if Process.pid != PID
        link.sock.write("HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\noobw done")
        !Response.closing
      end

      def pairs(head)
        parts = head.split("\0", -1)
        raise Garbage, 'a head that is no list of pairs' if parts.pop != '' || parts.size.odd?
        return Hash[*parts] if parts.size <= MAX_PARTS
        parts.each_slice(2).to_h
      end

      # Returns data that holds a whole head, and the head's size.
      def rest_of_head(link, data)
        deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + HEAD_SECONDS
        loop do
          size = data.unpack('N').first
          raise Garbage, "#{size} is no plausible length of a head" if size && !size.between?(4, MAX_HEAD)
          return data, size if size && data.bytesize >= size + 4
          left = deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)
          raise Garbage, 'it stopped in the middle of a head' if left <= 0 || !IO.select([link.sock], nil, nil, left)
          more = link.sock.read_nonblock(65_536, exception: false)
          raise Garbage, 'it ended in the middle of a head' unless more
          data += more if more.is_a?(String)
        end
      end

      # Returns rack.input: in memory if it came with the head.
      def body(link, env)
        length = env['CONTENT_LENGTH']
        if length && !length.empty?
          raise Garbage, "CONTENT_LENGTH is #{length.dump}" unless length.match?(/\A\d{1,18}\z/)
          env.delete('HTTP_TRANSFER_ENCODING') # the chunks are gone
          length = length.to_i
          return StringIO.new(first_bytes(link, length)) if length <= link.rest.bytesize
        elsif length || (env['HTTP_TRANSFER_ENCODING'] || '').downcase != 'chunked'
          return StringIO.new(EMPTY)
        else
          length = nil
        end
        first = link.rest
        link.rest = EMPTY
        input = Input.new(link.sock, first, length && length - first.bytesize)
        @rack < 3 ? RewindableInput.new(input) : input
      end

      def first_bytes(link, length)
        data = link.rest
        link.rest = EMPTY
        return data if data.bytesize == length
        link.rest = data.byteslice(length, data.bytesize - length)
        data.byteslice(0, length)
      end

      # Passes over what the application left of a body. Says whether the connection is worth that.
      def skip(link, input)
        unread = input.finish
        return false if unread.nil? || unread > MAX_SKIP
        link.skip = unread
        true
      end

      # Runs the application. Says whether the connection may be used again.
      def call(env, response)
        after = env['rack.after_reply'] = []
        finished = env['rack.response_finished'] = [] if @rack >= 3
        error = nil
        begin
          keep = response.finish(@application.call(env))
        rescue Exception => error
          keep = response.fail(error)
        end
        quietly('close()') { response.body.close } if response.body.respond_to?(:close)
        response.over
        after.each { |callable| quietly('rack.after_reply') { callable.call } } unless after.empty?
        finished(finished, env, response, error) if finished && !finished.empty?
        RackLoader.leave_child if Process.pid != PID
        keep
      end

      def finished(callables, env, response, error)
        callables.reverse_each do |callable|
          quietly('rack.response_finished') { callable.call(env, response.status, response.headers, error) }
        end
      end
    end

    # The start

    class << self
      def run
        reset_signals
        # The application may put files in their places.
        @channel = STDOUT.dup
        @errors = STDERR.dup
        settings = handshake
        control = take_descriptors
        smart = settings['spawn_method'] == 'smart'
        if smart
          require "#{__dir__}/rack-preloader"
          Preloader.keep_orders
        end
        $0 = smart ? "Passenger AppPreloader: #{settings['app_group_name']}" : title(settings)
        PhusionPassenger::App.options = settings.dup
        application = load(settings)
        # Only now: these are gems, whose versions the application has chosen.
        require 'socket'
        require 'stringio'
        control = preload(settings, control) if smart
        threads = settings['concurrency_model'] == 'thread' ? [settings['thread_count'].to_i, 1].max : 1
        server = Server.new(application, control, threads, rack_version)
        begin
          open_debugger if settings['debugger'] == '1'
          PhusionPassenger.call_event(:starting_worker_process, smart)
          server.handle_signals
          PhusionPassenger.call_event(:after_installing_signal_handlers)
        rescue Exception => error
          refuse(explain(error, settings), error)
        end
        announce(PhusionPassenger.advertised_concurrency_level || threads)
        serve(server)
      end

      # Ends a process that the application forked and that came back to us: there is one server, its parent.
      def leave_child(error = nil)
        code = 0
        if error.is_a?(SystemExit)
          code = error.status
        elsif error
          Log.exception(error)
          code = 1
        end
        exit!(code)
      end

      private

      # PassengerDebugger. The debugger's socket is in a folder of the application's user alone.
      def open_debugger
        require 'debug/session'
        DEBUGGER__.open(nonstop: true)
      rescue LoadError => error
        Log.say("PassengerDebugger: #{error.message}: install the gem \"debug\", and add it to the Gemfile if there is one")
      end

      def serve(server)
        server.run
        server.quietly('stopping_worker_process') { PhusionPassenger.call_event(:stopping_worker_process) }
      rescue Exception => error
        PhusionPassenger.call_event(:unhandled_exception_before_exit, error)
        raise
      end

      # An application starts with the signals of a fresh process, except that a Control-C in some terminal, or the end of one, is
      # not for it.
      def reset_signals
        (Signal.list.keys - %w[EXIT KILL STOP PIPE CHLD CLD SEGV BUS ILL FPE VTALRM]).each do |name|
          begin
            trap(name, 'DEFAULT')
          rescue ArgumentError, SystemCallError
            nil     # one of the interpreter's own
          end
        end
        %w[INT HUP].each { |name| trap(name) { nil } }   # a handler, unlike 'IGNORE', ends with exec()
        trap('QUIT') { print_stacks }
        trap('ABRT') do
          print_stacks
          trap('ABRT', 'SYSTEM_DEFAULT')
          Process.kill('ABRT', Process.pid)
        end
      end

      def print_stacks
        text = "rack-loader: where the threads of process #{Process.pid} are:\n"
        Thread.list.each do |thread|
          text += "#{thread.inspect}#{thread == Thread.main ? ' (main)' : ''}\n"
          frames = thread.backtrace || []
          theirs = frames.drop_while { |line| line.start_with?(FILE) }
          (theirs.empty? ? frames : theirs).each { |line| text += "    #{line}\n" }
        end
        Log.write(text)
      end

      def title(settings)
        [settings['process_title'], settings['app_group_name']].compact.join(': ')
      end

      # Becomes a preloader. Returns in each process that it forks, with the control pipe of that.
      def preload(settings, control)
        @channel, control = Preloader.new(@channel, @errors, control).serve
        $0 = title(settings)
        handshake(control)      # which says what we know
        control
      end

      # Returns the core's part of the handshake.
      def handshake(control = STDIN)
        @channel.syswrite("!> I have control #{VERSION}\n")
        text = +''.b
        begin
          text << control.sysread(65_536) until text.end_with?("\n\n") || text.bytesize > MAX_HEAD
        rescue EOFError
          Log.say('no handshake on standard input: only passenger-helper can start this program')
          exit!(1)
        end
        lines = text.force_encoding(Encoding.find('filesystem')).split("\n")
        if lines.first != "You have control #{VERSION}"
          refuse("The handshake began with #{lines.first.dump}, not with \"You have control #{VERSION}\": " \
                 'helper and loader are of different versions.')
        end
        lines.drop(1).map { |line| line.split(': ', 2) }.select { |pair| pair.size == 2 }.to_h
      end

      # Moves the control pipe out of the application's reach. Returns where it is.
      def take_descriptors
        control = STDIN.dup
        STDIN.reopen(File::NULL)
        IO.for_fd(LISTENER, autoclose: false).close_on_exec = true
        [STDOUT, STDERR].each do |io|
          io.sync = true
          io.extend(Output)
        end
        control
      end

      # Reports why the application cannot be served, and ends the process.
      def refuse(sentence, error = nil)
        text = "\n!> Error\n\n#{sentence}\n"
        text << "\n" << Log.describe(error) << "\nInterpreter: #{interpreter}\n" if error
        text << "Gems: #{Gem.path.join(', ')}\n" if error && defined?(Gem)
        begin
          @channel.syswrite(text)
        rescue SystemCallError
          nil
        end
        exit!(1)
      end

      def interpreter
        "#{defined?(RbConfig) ? RbConfig.ruby : 'ruby'} (Ruby #{RUBY_VERSION})"
      end

      # Returns the application, or ends the process with a report.
      def load(settings)
        root = settings['app_root'] ||= Dir.pwd
        path = settings['startup_file'] = File.expand_path(settings['startup_file'] || 'config.ru', root)
        check_file(path)
        begin
          set_up_load_path(settings)
          require 'rack'
          application = build(path)
        rescue Exception => error
          leave_child(error) if Process.pid != PID
          refuse(explain(error, settings), error)
        end
        leave_child if Process.pid != PID
        return application if application.respond_to?(:call)
        refuse("#{path}: it gives an application of class #{application.class}, which has no method \"call\": " \
               'name one with "run".')
      end

      def check_file(path)
        refuse("#{path}: it is no file: create it, or name another one with PassengerStartupFile.") if File.directory?(path)
        File.open(path) { nil }
      rescue Errno::ENOENT
        refuse("#{path}: there is no such startup file: create it, or name another one with PassengerStartupFile.")
      rescue SystemCallError => error
        refuse("#{path}: #{error.message.sub(/ @.*/, '')}: let user #{ENV['USER']} (uid #{Process.euid}) read the startup file.")
      end

      # What decides which versions of gems are loaded, so before anything else of the application.
      def set_up_load_path(settings)
        require 'bundler/setup' if settings['preload_bundler'] == '1'
        if File.exist?('config/setup_load_paths.rb')
          require File.expand_path('config/setup_load_paths')
        elsif File.exist?('.bundle/environment.rb')
          require File.expand_path('.bundle/environment')
        elsif ENV['BUNDLE_GEMFILE'] || File.exist?('Gemfile') || File.exist?('gems.rb')
          require 'bundler/setup'
        end
      end

      # Rack before 3.0 gives the application and its options.
      def build(path)
        built = path.end_with?('.ru') ? ::Rack::Builder.parse_file(path) : ::Rack::Builder.new_from_string(File.read(path), path)
        built.is_a?(Array) ? built.first : built
      end

      def rack_version
        (defined?(::Rack::RELEASE) ? ::Rack::RELEASE : ::Rack.release).to_i
      end

      # Returns file and line of the application that an exception is about.
      def where(error, settings)
        if error.is_a?(SyntaxError) && (found = error.message.match(/\A(\S[^\n]*?):(\d+): /))
          return "#{found[1]}, line #{found[2]}"
        end
        root = "#{settings['app_root']}/"
        line = Log.frames(error).find do |frame|
          frame.start_with?(root, settings['startup_file']) && !frame.start_with?("#{root}vendor/") && !frame.include?('/gems/')
        end
        found = line && line.match(/\A(.+?):(\d+)/)
        found ? "#{found[1]}, line #{found[2]}" : settings['startup_file']
      end

      # Returns one sentence: where, what, and what to do.
      def explain(error, settings)
        message = Log.printable(error.message)
        if defined?(Bundler::BundlerError) && error.is_a?(Bundler::BundlerError)
          return "#{gemfile(settings)}: #{error.class}: #{one_line(message)}: run \"bundle install\" there " \
                 "as the application's user with #{interpreter}, or choose another interpreter with PassengerRuby."
        end
        place = where(error, settings)
        what = "#{error.class}: #{one_line(message)}"
        case error
        when SyntaxError
          what = message.lines.first.to_s.sub(/\A\S[^\n]*?:\d+: /, '')
          "#{place}: SyntaxError: #{one_line(what)}: correct that line, or choose another interpreter than " \
          "#{interpreter} with PassengerRuby."
        when LoadError
          "#{place}: #{what}: install what is missing for #{interpreter}, add it to the Gemfile if there is one, " \
          'or choose another interpreter with PassengerRuby.'
        when SystemExit
          "#{place}: the application called exit(#{error.status}) while it was loaded: a startup file must run to its end."
        else
          "#{place}: #{what}: correct that; the backtrace follows."
        end
      end

      def one_line(text)
        text.split.join(' ').sub(/[.:]\z/, '')
      end

      def gemfile(settings)
        ENV['BUNDLE_GEMFILE'] ||
          %w[gems.rb Gemfile].map { |name| File.join(settings['app_root'], name) }.find { |path| File.exist?(path) }
      end

      def announce(concurrency)
        level = [[concurrency.to_i, 0].max, 65_535].min
        @channel.syswrite("\n!> Ready\n!> socket: main;fd:#{LISTENER};session;#{level}\n!> \n")
        @channel.close
      rescue SystemCallError
        exit!(1)
      end
    end
  end
end

PhusionPassenger::RackLoader.run
