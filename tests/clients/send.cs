// Sends one message of each kind with System.Net.Mail. Usage: mono send.exe HOST PORT
using System.IO;
using System.Linq;
using System.Net.Mail;
using System.Text;

class Program
{
    static MailMessage Message(string subject)
    {
        var message = new MailMessage("ann@client.test", "bob@upstream.test");
        message.Subject = subject;
        message.Body = "Hello Bob,\r\n\r\nthe order is on its way.\r\n";
        return message;
    }

    static void Main(string[] arguments)
    {
        using (var client = new SmtpClient(arguments[0], int.Parse(arguments[1])))
        {
            client.Send(Message("plain"));

            var encoded = Message("Gr\u00fc\u00dfe und \u2713");
            encoded.SubjectEncoding = Encoding.UTF8;
            client.Send(encoded);

            var eightBits = Message("eight bits");
            // Mono has no 8-bit transfer encoding; it is the charset alone that makes the body other than ASCII.
            eightBits.Body = "Gr\u00fc\u00dfe aus K\u00f6ln,\r\n\u7528\u6237\r\n";
            eightBits.BodyEncoding = Encoding.UTF8;
            client.Send(eightBits);

            var attachment = Message("attachment");
            attachment.IsBodyHtml = true;
            attachment.BodyEncoding = Encoding.UTF8;
            attachment.Body = "<p>Gr\u00fc\u00dfe</p>";
            var bytes = Enumerable.Range(0, 256).Select(at => (byte)at).ToArray();
            attachment.Attachments.Add(new Attachment(new MemoryStream(bytes), "table.bin"));
            client.Send(attachment);

            var several = Message("several");
            several.To.Add("eve@upstream.test");
            several.CC.Add(new MailAddress("carol@upstream.test", "Carol, C."));
            several.Bcc.Add("dave@upstream.test");
            client.Send(several);

            var dots = Message("dots");
            dots.Body = ".\r\n..\r\n.a line that begins with a dot\r\nend\r\n.\r\n";
            client.Send(dots);
        }
    }
}
